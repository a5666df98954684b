//! A rate with a burst: the generic cell rate algorithm.
//!
//! The word of a rate is the time at which its burst is whole again. Each item moves it on by the
//! time that the rate takes for one item. A request fits if the word is then not further away than
//! the whole burst.
//!
//! A request that is larger than the burst would never fit. It fits if the burst is whole, and
//! borrows the rest: later requests wait until it is paid off. So no request is refused forever, and
//! the rate holds on average.

use std::sync::atomic::{AtomicU64, Ordering};

/// Units of time in a second. A unit is short, so that the cost of one byte at a high rate is a
/// whole number of them. A word lasts for 36 years of a process.
pub(super) const SECOND: u64 = 16_000_000_000;
/// No cost or burst is longer, so that sums do not overflow.
const LONGEST: u64 = u64::MAX / 8;

/// A rate. Times are in units of the [`Clock`](super::clock::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: u64,
    /// Time that the rate takes for its whole burst.
    burst: u64,
}

// Relaxed: a word publishes no other data.
impl Rate {
    /// Without a burst, it is what the rate allows in a second.
    pub(super) fn new(per_second: usize, burst: Option<usize>) -> Self {
        let per_second = (per_second as u64).max(1);
        let burst = burst.map_or(per_second, |burst| (burst as u64).max(1));
        Self {
            per_second,
            burst: time_of(burst, per_second),
        }
    }

    /// Returns how long items have to wait, if they do not fit.
    pub(super) fn check(self, word: &AtomicU64, items: u64, now: u64) -> Result<(), u64> {
        self.next(word.load(Ordering::Relaxed), items, now).map(|_| ())
    }

    /// Takes all items. Returns how long they have to wait if they do not fit; then nothing is taken.
    pub(super) fn take(self, word: &AtomicU64, items: u64, now: u64) -> Result<(), u64> {
        let mut whole_at = word.load(Ordering::Relaxed);
        loop {
            let next = self.next(whole_at, items, now)?;
            match word.compare_exchange_weak(whole_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => whole_at = changed,
            }
        }
    }

    /// Gives items back that were taken.
    pub(super) fn refund(self, word: &AtomicU64, items: u64) {
        let cost = time_of(items, self.per_second);
        change(word, |whole_at| whole_at.saturating_sub(cost));
    }

    /// Converts what is owed from another rate, so that it is the same number of items.
    pub(super) fn convert(self, before: Self, word: &AtomicU64, now: u64) {
        change(word, |whole_at| {
            let owed = u128::from(whole_at.saturating_sub(now));
            let owed = (owed * u128::from(before.per_second)).div_ceil(u128::from(self.per_second));
            now + u64::try_from(owed).unwrap_or(u64::MAX).min(LONGEST)
        });
    }

    /// Returns how many items are owed: how much of the burst is used.
    pub(super) fn used(self, word: &AtomicU64, now: u64) -> u64 {
        let owed = u128::from(word.load(Ordering::Relaxed).saturating_sub(now));
        let items = (owed * u128::from(self.per_second)).div_ceil(u128::from(SECOND));
        u64::try_from(items).unwrap_or(u64::MAX)
    }

    /// Returns the word after these items, or how long they have to wait.
    fn next(self, whole_at: u64, items: u64, now: u64) -> Result<u64, u64> {
        let from = whole_at.max(now);
        let cost = time_of(items, self.per_second);
        let needed = (from - now).saturating_add(cost.min(self.burst));
        if needed > self.burst {
            return Err(needed - self.burst);
        }
        Ok(from.saturating_add(cost))
    }
}

/// Returns the time that a rate takes for items, rounded up.
fn time_of(items: u64, per_second: u64) -> u64 {
    let time = items.checked_mul(SECOND).map_or_else(
        || {
            let time = (u128::from(items) * u128::from(SECOND)).div_ceil(u128::from(per_second));
            u64::try_from(time).unwrap_or(u64::MAX)
        },
        |time| time.div_ceil(per_second),
    );
    time.min(LONGEST)
}

fn change(word: &AtomicU64, change: impl Fn(u64) -> u64) {
    let changed = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(change(word)));
    debug_assert!(changed.is_ok(), "the closure always returns `Some`");
}
