//! Limits on concurrent requests.
//!
//! Slow lanes use a separate semaphore, so that hanging endpoints cannot starve healthy ones. A
//! long request of a healthy lane moves to an overflow permit, if one is free. So many endpoints
//! can start to hang at once without blocking others until their timeout.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::fair_semaphore::{FairSemaphore, Permit, VirtualTime};

/// Limits on concurrent requests.
#[derive(Debug)]
pub(crate) struct Permits {
    healthy: FairSemaphore,
    /// For long requests that began with a healthy permit.
    overflow: Semaphore,
    slow: Semaphore,
}

/// Permission to send a request, released on drop.
pub(crate) enum RequestPermit<'a> {
    Healthy {
        _permit: Permit<'a>,
        overflow: &'a Semaphore,
    },
    SlowOrOverflow {
        _permit: SemaphorePermit<'a>,
    },
}

impl Permits {
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self {
            healthy: FairSemaphore::new(max_concurrent),
            overflow: Semaphore::new(max_concurrent),
            slow: Semaphore::new((max_concurrent / 8).max(1)),
        }
    }

    /// Advances an idle lane's virtual time before it sends again.
    pub(crate) fn wake(&self, time: &VirtualTime) {
        self.healthy.wake(time);
    }

    /// Waits for a permit. `is_slow` returns whether the lane's last attempt was slow.
    pub(crate) async fn acquire(&self, time: &VirtualTime, is_slow: impl Fn() -> bool) -> RequestPermit<'_> {
        if !is_slow() {
            let permit = self.healthy.acquire(time).await;
            // Check again: a hundred requests of a hanging lane may wait here.
            if !is_slow() {
                return RequestPermit::Healthy {
                    _permit: permit,
                    overflow: &self.overflow,
                };
            }
        }
        RequestPermit::SlowOrOverflow {
            _permit: acquire(&self.slow).await,
        }
    }
}

impl RequestPermit<'_> {
    /// Moves a long request to an overflow permit, if one is free.
    pub(crate) fn move_to_overflow(&mut self) {
        if let Self::Healthy { overflow, .. } = self
            && let Ok(permit) = overflow.try_acquire()
        {
            *self = Self::SlowOrOverflow { _permit: permit };
        }
    }
}

/// Waits for a permit of a semaphore that is never closed.
pub(crate) async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore.acquire().await.expect("the semaphore is never closed")
}
