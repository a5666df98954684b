//! A clock that can be stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::Instant as Now;

/// A clock that stands still while it is stopped.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    begun: Instant,
    /// Twice the nanoseconds that it goes after the real clock; or twice those that it shows, plus
    /// one, while it is stopped.
    state: AtomicU64,
}

impl Stopwatch {
    pub(crate) fn stopped() -> Self {
        Self {
            begun: Now::now().into_std(),
            state: AtomicU64::new(1),
        }
    }

    /// One thread at a time starts and stops it.
    pub(crate) fn start(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & 1 == 1 {
            // Release, and acquire in `now`: what was written before the clock was started is not
            // seen after a time that it shows then.
            self.state
                .store(self.real().saturating_sub(state >> 1) << 1, Ordering::Release);
        }
    }

    pub(crate) fn stop(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & 1 == 0 {
            self.state
                .store((self.real().saturating_sub(state >> 1) << 1) | 1, Ordering::Release);
        }
    }

    pub(crate) fn now(&self) -> Instant {
        let state = self.state.load(Ordering::Acquire);
        let shown = if state & 1 == 1 {
            state >> 1
        } else {
            self.real().saturating_sub(state >> 1)
        };
        self.begun + Duration::from_nanos(shown)
    }

    /// Nanoseconds since it was made: enough for 292 years.
    fn real(&self) -> u64 {
        let real = Now::now().into_std().saturating_duration_since(self.begun);
        u64::try_from(real.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_shows_only_the_time_while_it_is_not_stopped() {
        let second = Duration::from_secs(1);
        let clock = Stopwatch::stopped();
        let begun = clock.now();
        for round in 1..4 {
            tokio::time::advance(100 * second).await;
            assert_eq!(clock.now(), begun + (round - 1) * second);
            clock.start();
            assert_eq!(
                clock.now(),
                begun + (round - 1) * second,
                "it goes on from where it was"
            );
            tokio::time::advance(second).await;
            clock.start();
            assert_eq!(clock.now(), begun + round * second);
            clock.stop();
            clock.stop();
        }
    }
}
