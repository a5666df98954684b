//! A count of the current day or month, in one atomic word: the number of the period and the count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the count. The others are the lowest bits of the period's number.
const COUNT_BITS: u32 = 48;
/// The largest count, 281 terabytes. A higher limit counts as this one.
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

// Relaxed: a word publishes no other data.

/// Returns whether items fit.
pub(super) fn check(word: &AtomicU64, items: u64, limit: u64, period: u16) -> bool {
    next(word.load(Ordering::Relaxed), items, limit, period).is_some()
}

/// Takes all items, and returns the period that they count in. Returns `None` if they do not fit;
/// then nothing is taken.
pub(super) fn take(word: &AtomicU64, items: u64, limit: u64, period: u16) -> Option<u16> {
    let take = |word| next(word, items, limit, period);
    let before = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
    Some(current(before, period).0)
}

/// Gives items back that were taken in a period, unless it has ended.
pub(super) fn refund(word: &AtomicU64, items: u64, period: u16) {
    // An error means that the period has ended.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
        let (of, count) = parts(word);
        (of == period).then(|| joined(of, count.saturating_sub(items)))
    });
}

/// Adds items to a period without a limit.
#[cfg(feature = "spool")]
pub(super) fn add(word: &AtomicU64, items: u64, period: u16) {
    let added = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
        let (of, count) = current(word, period);
        Some(joined(of, count.saturating_add(items).min(MAX_COUNT)))
    });
    debug_assert!(added.is_ok(), "the closure always returns `Some`");
}

/// Returns the count of a period.
pub(super) fn used(word: &AtomicU64, period: u16) -> u64 {
    current(word.load(Ordering::Relaxed), period).1
}

/// Returns the word after these items.
fn next(word: u64, items: u64, limit: u64, period: u16) -> Option<u64> {
    let (period, count) = current(word, period);
    let count = count.checked_add(items)?;
    (count <= limit.min(MAX_COUNT)).then(|| joined(period, count))
}

/// Returns the later one of two periods, and its count. A thread that read the clock before midnight
/// counts in the new day if another thread has begun it.
fn current(word: u64, period: u16) -> (u16, u64) {
    let (of, count) = parts(word);
    // Numbers wrap around after 65536 periods.
    if period.wrapping_sub(of).cast_signed() > 0 {
        (period, 0)
    } else {
        (of, count)
    }
}

fn parts(word: u64) -> (u16, u64) {
    let period = u16::try_from(word >> COUNT_BITS).expect("16 bits are left");
    (period, word & MAX_COUNT)
}

fn joined(period: u16, count: u64) -> u64 {
    u64::from(period) << COUNT_BITS | count
}
