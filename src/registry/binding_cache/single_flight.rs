//! Work that many callers ask for at once and one does.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

use crate::util::fork::ForkLock;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Futures under way, by key. No task runs them: the callers that wait poll them, and a future is dropped when none waits any more.
pub(crate) struct SingleFlight<K, T: Clone>(Arc<ForkLock<UnderWay<K, T>>>);

struct UnderWay<K, T: Clone> {
    futures: HashMap<K, (u64, WeakShared<Boxed<T>>)>,
    begun: u64,
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the future that is under way, or begins one. All get `panicked` if the work panics.
    pub(crate) fn join<F>(&self, key: &K, begin: impl FnOnce() -> F, panicked: T) -> Shared<Boxed<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.0.lock();
        let found = under_way.futures.get(key);
        if let Some(future) = found.and_then(|(_, future)| future.upgrade()) {
            return future;
        }
        under_way.begun += 1;
        let number = under_way.begun;
        let done = RemoveWhenDone {
            under_way: Arc::clone(&self.0),
            key: key.clone(),
            number,
        };
        let work = begin();
        let work = async move {
            let _done = done;
            AssertUnwindSafe(work).catch_unwind().await.unwrap_or(panicked)
        };
        let future = (Box::pin(work) as Boxed<T>).shared();
        let weak = future.downgrade().expect("it was not polled yet");
        under_way.futures.insert(key.clone(), (number, weak));
        future
    }
}

/// Removes a future that is complete, or that is dropped because no caller waits for it.
struct RemoveWhenDone<K: Eq + Hash, T: Clone> {
    under_way: Arc<ForkLock<UnderWay<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T: Clone> Drop for RemoveWhenDone<K, T> {
    fn drop(&mut self) {
        let Some(mut under_way) = self.under_way.lock_unless_forked() else {
            return;
        };
        // Another one may have begun since the last caller stopped waiting for this one.
        let mine = under_way.futures.get(&self.key);
        if mine.is_some_and(|(number, _)| *number == self.number) {
            under_way.futures.remove(&self.key);
        }
    }
}

/// Waits for a future on this thread.
pub(super) fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.poll_unpin(&mut cx) {
            return output;
        }
        thread::park();
    }
}

impl<K, T: Clone> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::new(ForkLock::new(UnderWay {
            futures: HashMap::new(),
            begun: 0,
        })))
    }
}
