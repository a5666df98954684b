//! Work that many ask for at once and one does.

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

/// What is under way, by what it is for. Nobody's task: whoever waits does the work, and it is dropped when nobody waits any more.
pub(crate) struct Flights<K, T: Clone>(Arc<ForkLock<UnderWay<K, T>>>);

struct UnderWay<K, T: Clone> {
    flights: HashMap<K, (u64, WeakShared<Boxed<T>>)>,
    begun: u64,
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins what is under way, or begins it. `panicked` is what all get where the work panics.
    pub(crate) fn join<F>(&self, key: &K, begin: impl FnOnce() -> F, panicked: T) -> Shared<Boxed<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.0.lock();
        if let Some(flight) = under_way.flights.get(key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        under_way.begun += 1;
        let number = under_way.begun;
        let landing = Landing {
            under_way: Arc::clone(&self.0),
            key: key.clone(),
            number,
        };
        let work = begin();
        let work = async move {
            let _landing = landing;
            AssertUnwindSafe(work).catch_unwind().await.unwrap_or(panicked)
        };
        let flight = (Box::pin(work) as Boxed<T>).shared();
        let weak = flight.downgrade().expect("it was not polled yet");
        under_way.flights.insert(key.clone(), (number, weak));
        flight
    }
}

/// Forgets a flight when it is over, or nobody waits for it any more.
struct Landing<K: Eq + Hash, T: Clone> {
    under_way: Arc<ForkLock<UnderWay<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T: Clone> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let Some(mut under_way) = self.under_way.lock_unless_forked() else {
            return;
        };
        // Another one may have begun after the last that waited for this one went.
        if under_way
            .flights
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            under_way.flights.remove(&self.key);
        }
    }
}

/// Waits for a future on this thread.
pub(crate) fn wait<F: Future + Unpin>(mut future: F) -> F::Output {
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

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::new(ForkLock::new(UnderWay {
            flights: HashMap::new(),
            begun: 0,
        })))
    }
}
