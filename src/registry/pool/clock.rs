//! The pool's coarse clock, which makes recording a use a load and a store.
//!
//! It advances when a tracer is created and when the pool is swept. It cannot order uses between
//! two ticks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sweeps per idle timeout, and the maximum time between two sweeps.
const SWEEPS_PER_TIMEOUT: u32 = 16;
const MAX_PERIOD: Duration = Duration::from_secs(60);

/// Counts sweeps and created tracers. Ticks are even.
#[derive(Default)]
pub(super) struct CoarseClock(AtomicU64);

/// Times of past ticks, as far back as the idle timeout.
pub(super) struct ClockHistory {
    timeout: Option<Duration>,
    counts: VecDeque<(Duration, u64)>,
}

impl CoarseClock {
    /// Returns the time of a use: odd, after the last tick. Relaxed, here and below: only the
    /// number matters.
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed) + 1
    }

    pub(super) fn advance(&self) -> u64 {
        self.0.fetch_add(2, Ordering::Relaxed) + 2
    }
}

impl ClockHistory {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            counts: VecDeque::new(),
        }
    }

    /// Interval between sweeps.
    pub(super) fn period(&self) -> Duration {
        let period = self.timeout.map_or(MAX_PERIOD, |timeout| timeout / SWEEPS_PER_TIMEOUT);
        period.clamp(Duration::from_millis(1), MAX_PERIOD)
    }

    /// Records the time of a tick. Returns the tick before which a last use means that the idle
    /// timeout has expired.
    pub(super) fn note(&mut self, now: Duration, count: u64) -> Option<u64> {
        let timeout = self.timeout?;
        let period = self.period();
        if self.counts.back().is_none_or(|(last, _)| *last + period <= now) {
            self.counts.push_back((now, count));
        }
        let over = |(at, _): &(Duration, u64)| *at + timeout <= now;
        while self.counts.get(1).is_some_and(over) {
            self.counts.pop_front();
        }
        self.counts.front().filter(|front| over(front)).map(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_lies_between_two_ticks() {
        let clock = CoarseClock::default();
        let before = clock.advance();
        let used = clock.now();
        assert!(before < used && used < clock.advance());
    }

    #[test]
    fn a_use_expires_soon_after_the_timeout_and_never_before() {
        let timeout = Duration::from_secs(160);
        // Sweeps on time and late ones.
        for step in [1, 10, 37, 400] {
            let (clock, mut past) = (CoarseClock::default(), ClockHistory::new(Some(timeout)));
            let mut uses: Vec<(Duration, u64)> = Vec::new();
            for second in 0..2_000 {
                let now = Duration::from_secs(second);
                if second % step == 0 {
                    let count = clock.advance();
                    let over = past.note(now, count);
                    for (at, used) in &uses {
                        let is_over = over.is_some_and(|over| *used < over);
                        let age = now.saturating_sub(*at);
                        assert!(!is_over || age >= timeout, "{at:?} expired at {now:?}");
                        let late = Duration::from_secs(10.max(step) + step);
                        assert!(is_over || age < timeout + late, "{at:?} has not expired at {now:?}");
                    }
                    assert!(past.counts.len() <= 20);
                }
                uses.push((now, clock.now()));
            }
        }
    }

    #[test]
    fn without_a_timeout_nothing_expires() {
        let mut past = ClockHistory::new(None);
        assert_eq!(past.period(), MAX_PERIOD);
        assert_eq!(past.note(Duration::MAX, 2), None);
    }
}
