//! Until when a tracer's binding holds before its source must be asked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The low bits of the state are the expiry, in milliseconds since `began`; 34 years is never.
const NEVER: u64 = (1 << 40) - 1;
/// The bits above count how often the tracer was marked stale.
const ONE_MARK: u64 = NEVER + 1;

/// When a tracer becomes stale: by time, or because a reload marks it.
pub(crate) struct Freshness {
    began: Instant,
    state: AtomicU64,
}

/// A freshness as it was seen before the source was asked.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl Freshness {
    /// `None` is never stale, unless it is marked.
    pub(crate) fn new(expires: Option<Instant>) -> Self {
        let began = Instant::now();
        Self {
            began,
            state: AtomicU64::new(millis(began, expires)),
        }
    }

    /// Whether the source must be asked. Reads the clock only if there is an expiry.
    pub(crate) fn is_stale(&self) -> bool {
        // Relaxed: a look-up at the moment of a mark may fall on either side of it.
        match self.state.load(Ordering::Relaxed) & NEVER {
            NEVER => false,
            0 => true,
            expires => self.began.elapsed().as_millis() >= u128::from(expires),
        }
    }

    /// Makes it stale, also if the source is being asked now.
    pub(crate) fn mark_stale(&self) {
        let marked = |state: u64| Some((state & !NEVER).wrapping_add(ONE_MARK));
        // Cannot fail: the closure always returns `Some`.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, marked);
    }

    /// Read before the source is asked. Acquire: a caller that sees a mark also sees what it was marked for.
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.state.load(Ordering::Acquire))
    }

    /// Makes it fresh after the source was asked. Returns false if it was marked since `seen`: the source must be asked again.
    pub(crate) fn renew(&self, seen: Seen, expires: Option<Instant>) -> bool {
        let renewed = (seen.0 & !NEVER) | millis(self.began, expires);
        let exchanged = self
            .state
            .compare_exchange(seen.0, renewed, Ordering::Relaxed, Ordering::Relaxed);
        // Another caller that renewed it meanwhile left the marks as they were.
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
    fn it_is_stale_when_its_time_is_over_or_it_is_marked_and_fresh_when_it_is_renewed() {
        let (now, over) = (Instant::now(), Instant::now() + HOUR);
        for (expires, is_stale) in [(None, false), (Some(over), false), (Some(now), true)] {
            let freshness = Freshness::new(expires);
            assert_eq!(freshness.is_stale(), is_stale, "{expires:?}");
            freshness.mark_stale();
            assert!(freshness.is_stale());
            assert!(freshness.renew(freshness.seen(), Some(over)));
            assert!(!freshness.is_stale());
            assert!(freshness.renew(freshness.seen(), Some(now)));
            assert!(freshness.is_stale());
        }
    }

    #[test]
    fn a_mark_while_the_source_is_asked_is_not_overlooked_and_another_caller_that_renews_is_no_mark() {
        let freshness = Freshness::new(Some(Instant::now()));
        let later = Some(Instant::now() + HOUR);
        let (seen, other) = (freshness.seen(), freshness.seen());
        assert!(freshness.renew(other, later) && freshness.renew(seen, later));
        for is_marked_before in [false, true] {
            if is_marked_before {
                freshness.mark_stale();
            }
            let seen = freshness.seen();
            freshness.mark_stale();
            assert!(!freshness.renew(seen, later));
            assert!(freshness.is_stale());
        }
        assert!(freshness.renew(freshness.seen(), None) && !freshness.is_stale());
    }
}
