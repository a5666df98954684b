//! Counts calls of traced functions that had no span, and logs failures.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Number of counters that threads share, so that calls outside any scope do not all write to one cache line.
const STRIPES: usize = 16;

/// A counter on a cache line of its own (two, since processors fetch them in pairs).
#[repr(align(128))]
struct Stripe(AtomicU64);

static UNROUTED: [Stripe; STRIPES] = [const { Stripe(AtomicU64::new(0)) }; STRIPES];
static FAILED: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Relaxed: any stripe is right.
    static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// Calls of functions with `#[trace]` that have no span, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceCounts {
    /// Calls outside any scope of functions that name no tracer. Such a call is not recorded, which is not an error.
    pub unrouted: u64,
    /// Calls whose `tracer`, `tenant`, `feature` or `environment` could not be resolved.
    pub failed: u64,
}

/// Returns how many calls of functions with `#[trace]` had no span so far, in this process.
pub fn trace_counts() -> TraceCounts {
    // Relaxed, here and below: counts, no other memory depends on them.
    TraceCounts {
        unrouted: UNROUTED.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum(),
        failed: FAILED.load(Ordering::Relaxed),
    }
}

pub(super) fn note_unrouted() {
    // A thread that is ending has no stripe any more.
    let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
    UNROUTED[stripe].0.fetch_add(1, Ordering::Relaxed);
}

/// Counts a call whose tracer could not be resolved. Logs the first, the second, the fourth, the eighth and so on.
pub(super) fn note_failed(function: &str, why: &dyn fmt::Display) {
    let count = FAILED.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::warn!(
            function,
            calls = count,
            "the function runs and is not traced, for it has no tracer: {why}; further ones are counted, and told where the count \
             doubles"
        );
    }
}
