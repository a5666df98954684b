//! How many requests may be under way at the same time.
//!
//! A lane whose last attempt was slow uses a semaphore of its own, so that endpoints that hang cannot starve healthy ones. A request that
//! lasts gives its permit among the healthy ones back, as long as there is room beside them. So many endpoints may begin to hang at once
//! without others having to wait for their time to be over.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::fair_semaphore::{FairSemaphore, Permit, VirtualTime};

/// The requests that may be under way at the same time.
#[derive(Debug)]
pub(crate) struct Permits {
    healthy: FairSemaphore,
    /// Beside the healthy ones, for requests that began among them.
    beside: Semaphore,
    slow: Semaphore,
}

/// The right to have a request under way.
pub(crate) enum RequestPermit<'a> {
    Healthy {
        // Held, not read.
        _permit: Permit<'a>,
        /// Where a request that lasts may move to.
        beside: &'a Semaphore,
    },
    Aside {
        _permit: SemaphorePermit<'a>,
    },
}

impl Permits {
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self {
            healthy: FairSemaphore::new(max_concurrent),
            beside: Semaphore::new(max_concurrent),
            slow: Semaphore::new((max_concurrent / 8).max(1)),
        }
    }

    /// A lane has something to send again.
    pub(crate) fn wake(&self, time: &VirtualTime) {
        self.healthy.wake(time);
    }

    /// Waits for a permit for a lane. `is_suspect` returns whether its last attempt was slow.
    pub(crate) async fn acquire(&self, time: &VirtualTime, is_slow: impl Fn() -> bool) -> RequestPermit<'_> {
        if !is_slow() {
            let permit = self.healthy.acquire(time).await;
            // What was learnt of the lane meanwhile counts: a hundred requests of one that hangs may wait here.
            if !is_slow() {
                let beside = &self.beside;
                return RequestPermit::Healthy {
                    _permit: permit,
                    beside,
                };
            }
        }
        RequestPermit::Aside {
            _permit: acquire(&self.slow).await,
        }
    }
}

impl RequestPermit<'_> {
    /// The request lasts: its permit among the healthy ones is free again, if there is room beside them.
    pub(crate) fn step_aside(&mut self) {
        if let Self::Healthy { beside, .. } = self
            && let Ok(permit) = beside.try_acquire()
        {
            *self = Self::Aside { _permit: permit };
        }
    }
}

/// Waits for a permit of a semaphore that is never closed.
pub(crate) async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore.acquire().await.expect("it is never closed")
}
