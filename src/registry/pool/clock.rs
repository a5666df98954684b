//! The pool's clock: coarse, so that noting a use is a load and a store.
//!
//! It advances when a tracer is made and when the pool is swept. It cannot tell uses between two counts apart.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many times the pool is swept while an idle tracer waits for its end, and how far apart two sweeps are at the most.
const SWEEPS: u32 = 16;
const LONGEST: Duration = Duration::from_secs(60);

/// Counts sweeps and new tracers. The counts are even.
#[derive(Default)]
pub(super) struct CoarseClock(AtomicU64);

/// When the clock had which count, as far back as idle tracers are kept.
pub(super) struct ClockHistory {
    timeout: Option<Duration>,
    counts: VecDeque<(Duration, u64)>,
}

impl CoarseClock {
    /// The time of a use: odd, after the last count. Relaxed, here and below: nothing but the number itself matters.
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

    /// How often the pool is to be swept.
    pub(super) fn period(&self) -> Duration {
        let period = self.timeout.map_or(LONGEST, |timeout| timeout / SWEEPS);
        period.clamp(Duration::from_millis(1), LONGEST)
    }

    /// Notes when the clock came to a count. Returns the count since which a tracer that is not idle for the timeout must have been used.
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
    fn a_use_is_after_the_last_count_and_before_the_next() {
        let clock = CoarseClock::default();
        let before = clock.advance();
        let used = clock.now();
        assert!(before < used && used < clock.advance());
    }

    #[test]
    fn what_was_used_within_the_timeout_is_never_over_and_what_was_not_soon_is() {
        let timeout = Duration::from_secs(160);
        // Swept in time, and late.
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
                        assert!(!is_over || age >= timeout, "{at:?} is over at {now:?}");
                        let late = Duration::from_secs(10.max(step) + step);
                        assert!(is_over || age < timeout + late, "{at:?} is not over at {now:?}");
                    }
                    assert!(past.counts.len() <= 20);
                }
                uses.push((now, clock.now()));
            }
        }
    }

    #[test]
    fn without_a_timeout_nothing_is_ever_over() {
        let mut past = ClockHistory::new(None);
        assert_eq!(past.period(), LONGEST);
        assert_eq!(past.note(Duration::MAX, 2), None);
    }
}
