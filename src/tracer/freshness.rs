//! Tracks when a tracer's binding must be resolved again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The low bits hold the expiry in milliseconds since `began`. The maximum, 34 years, means never.
const NEVER: u64 = (1 << 40) - 1;
/// The bits above count how often the tracer was marked stale.
const ONE_MARK: u64 = NEVER + 1;

/// When a tracer becomes stale: at its expiry, or when a reload marks it.
pub(crate) struct Freshness {
    began: Instant,
    state: AtomicU64,
}

/// Snapshot of a freshness, taken before the source is asked.
#[derive(Clone, Copy)]
pub(crate) struct FreshnessSnapshot(u64);

impl Freshness {
    /// With `None`, never becomes stale unless marked.
    pub(crate) fn new(expires: Option<Instant>) -> Self {
        let began = Instant::now();
        Self {
            began,
            state: AtomicU64::new(millis(began, expires)),
        }
    }

    /// Whether the binding must be resolved again. Reads the clock only if there is an expiry.
    pub(crate) fn is_stale(&self) -> bool {
        // Relaxed: a look-up that races with a mark may see either state.
        match self.state.load(Ordering::Relaxed) & NEVER {
            NEVER => false,
            0 => true,
            expires => self.began.elapsed().as_millis() >= u128::from(expires),
        }
    }

    /// Marks the tracer stale, even if the source is being asked now.
    pub(crate) fn mark_stale(&self) {
        let marked = |state: u64| Some((state & !NEVER).wrapping_add(ONE_MARK));
        // Cannot fail: the closure always returns `Some`.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, marked);
    }

    /// Takes a snapshot before the source is asked. Acquire: a caller that sees a mark also sees
    /// the change behind it.
    pub(crate) fn snapshot(&self) -> FreshnessSnapshot {
        FreshnessSnapshot(self.state.load(Ordering::Acquire))
    }

    /// Makes the tracer fresh again. Returns false if it was marked since `seen`: resolve its
    /// binding again.
    pub(crate) fn renew(&self, seen: FreshnessSnapshot, expires: Option<Instant>) -> bool {
        let renewed = (seen.0 & !NEVER) | millis(self.began, expires);
        let exchanged = self
            .state
            .compare_exchange(seen.0, renewed, Ordering::Relaxed, Ordering::Relaxed);
        // A concurrent renewal does not change the marks.
        exchanged.unwrap_or_else(|now| now) & !NEVER == seen.0 & !NEVER
    }
}

fn millis(began: Instant, expires: Option<Instant>) -> u64 {
    let millis = expires.map(|expires| expires.saturating_duration_since(began).as_millis());
    millis.map_or(NEVER, |millis| u64::try_from(millis).unwrap_or(NEVER).min(NEVER))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_is_stale_after_expiry_or_a_mark_and_fresh_after_a_renewal() {
        let (now, over) = (Instant::now(), Instant::now() + HOUR);
        for (expires, is_stale) in [(None, false), (Some(over), false), (Some(now), true)] {
            let freshness = Freshness::new(expires);
            assert_eq!(freshness.is_stale(), is_stale, "{expires:?}");
            freshness.mark_stale();
            assert!(freshness.is_stale());
            assert!(freshness.renew(freshness.snapshot(), Some(over)));
            assert!(!freshness.is_stale());
            assert!(freshness.renew(freshness.snapshot(), Some(now)));
            assert!(freshness.is_stale());
        }
    }

    #[test]
    fn a_mark_during_a_renewal_is_kept_and_a_concurrent_renewal_is_not_a_mark() {
        let freshness = Freshness::new(Some(Instant::now()));
        let later = Some(Instant::now() + HOUR);
        let (seen, other) = (freshness.snapshot(), freshness.snapshot());
        assert!(freshness.renew(other, later) && freshness.renew(seen, later));
        for is_marked_before in [false, true] {
            if is_marked_before {
                freshness.mark_stale();
            }
            let seen = freshness.snapshot();
            freshness.mark_stale();
            assert!(!freshness.renew(seen, later));
            assert!(freshness.is_stale());
        }
        assert!(freshness.renew(freshness.snapshot(), None) && !freshness.is_stale());
    }
}
