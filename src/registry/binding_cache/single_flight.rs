//! Shares one computation among concurrent callers with the same key.

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

/// Futures in progress, by key. The waiting callers poll them, without a task; a future without
/// callers is dropped.
pub(crate) struct SingleFlight<K, T: Clone>(Arc<ForkLock<InProgress<K, T>>>);

struct InProgress<K, T: Clone> {
    futures: HashMap<K, (u64, WeakShared<Boxed<T>>)>,
    begun: u64,
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the future in progress for a key, or starts one. All callers get `panicked` if it
    /// panics.
    pub(crate) fn join<F>(&self, key: &K, begin: impl FnOnce() -> F, panicked: T) -> Shared<Boxed<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_progress = self.0.lock();
        let found = in_progress.futures.get(key);
        if let Some(future) = found.and_then(|(_, future)| future.upgrade()) {
            return future;
        }
        in_progress.begun += 1;
        let number = in_progress.begun;
        let done = RemoveWhenDone {
            in_progress: Arc::clone(&self.0),
            key: key.clone(),
            number,
        };
        let work = begin();
        let work = async move {
            let _done = done;
            AssertUnwindSafe(work).catch_unwind().await.unwrap_or(panicked)
        };
        let future = (Box::pin(work) as Boxed<T>).shared();
        let weak = future.downgrade().expect("not polled yet");
        in_progress.futures.insert(key.clone(), (number, weak));
        future
    }
}

/// Removes a future that completed or was dropped by its last caller.
struct RemoveWhenDone<K: Eq + Hash, T: Clone> {
    in_progress: Arc<ForkLock<InProgress<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T: Clone> Drop for RemoveWhenDone<K, T> {
    fn drop(&mut self) {
        let Some(mut in_progress) = self.in_progress.lock_unless_forked() else {
            return;
        };
        // A newer future may have started since the last caller dropped this one.
        let mine = in_progress.futures.get(&self.key);
        if mine.is_some_and(|(number, _)| *number == self.number) {
            in_progress.futures.remove(&self.key);
        }
    }
}

/// Runs a future on this thread.
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
        Self(Arc::new(ForkLock::new(InProgress {
            futures: HashMap::new(),
            begun: 0,
        })))
    }
}
