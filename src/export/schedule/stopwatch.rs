//! A clock that can be stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::Instant as TokioInstant;

/// A monotonic clock that can be stopped. Created stopped.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    begun: Instant,
    /// Running: twice the nanoseconds that it lags behind the real clock. Stopped: twice the
    /// nanoseconds that it shows, plus one.
    state: AtomicU64,
}

impl Stopwatch {
    pub(crate) fn stopped() -> Self {
        Self {
            begun: TokioInstant::now().into_std(),
            state: AtomicU64::new(1),
        }
    }

    /// Starts the clock. Only one thread at a time may start or stop it.
    pub(crate) fn start(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & 1 == 1 {
            // Release, pairs with `now`: a thread that reads a time of the running clock sees all
            // writes before the start.
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

    /// Returns the real nanoseconds since creation; 63 bits last for 292 years.
    fn real(&self) -> u64 {
        let real = TokioInstant::now().into_std().saturating_duration_since(self.begun);
        u64::try_from(real.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_passes_only_while_the_clock_runs() {
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
                "it continues from the shown time"
            );
            tokio::time::advance(second).await;
            clock.start();
            assert_eq!(clock.now(), begun + round * second);
            clock.stop();
            clock.stop();
        }
    }
}
