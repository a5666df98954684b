//! Counts calls of traced functions without a span, and logs failures.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Number of counters. Several, so that threads outside any scope do not contend for one cache
/// line.
const STRIPES: usize = 16;

/// A counter on its own pair of cache lines, because processors prefetch lines in pairs.
#[repr(align(128))]
struct Stripe(AtomicU64);

static UNROUTED: [Stripe; STRIPES] = [const { Stripe(AtomicU64::new(0)) }; STRIPES];
static FAILED: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Relaxed: any stripe is correct.
    static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// Number of calls of functions with `#[trace]` that ran without a span, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceCounts {
    /// Calls outside any scope of functions that name no tracer. Not an error.
    pub unrouted: u64,
    /// Calls with a `tracer`, `tenant`, `feature` or `environment` that could not be resolved.
    pub failed: u64,
}

/// Returns how many calls of functions with `#[trace]` ran without a span, since the process
/// started.
pub fn trace_counts() -> TraceCounts {
    // Relaxed, here and below: plain counters that order no other memory.
    TraceCounts {
        unrouted: UNROUTED.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum(),
        failed: FAILED.load(Ordering::Relaxed),
    }
}

pub(super) fn count_unrouted() {
    // A thread that is ending has lost its stripe.
    let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
    UNROUTED[stripe].0.fetch_add(1, Ordering::Relaxed);
}

/// Counts a call with a tracer that cannot be resolved. Logs each power of two.
pub(super) fn count_failed(function: &str, reason: &dyn fmt::Display) {
    let count = FAILED.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::warn!(
            function,
            calls = count,
            "cannot resolve the tracer of a traced function; it runs without a span: {reason}"
        );
    }
}
