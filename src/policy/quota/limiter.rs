//! Limits, applied to the usage of an owner.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::clock::{Clock, Periods, wall_seconds};
use super::rate::SECOND;
use super::usage::{Amount, Limits, QuotaUse, Usage, Wait};
use crate::config::Quota;

/// A quota, with what its owner has used of it.
pub struct Limiter {
    quota: Quota,
    limits: Limits,
    usage: Arc<Usage>,
    clock: Arc<Clock>,
    replicas: Arc<AtomicU32>,
}

/// An amount that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    amount: Amount,
    periods: Periods,
}

/// An amount that was taken, and is given back unless it is [kept](Self::keep).
#[cfg(feature = "gateway")]
#[must_use = "dropping it gives back what was taken"]
pub struct Charge {
    limiter: Arc<Limiter>,
    /// `None` once it is kept.
    taken: Option<Taken>,
}

impl Limiter {
    /// The longest time to wait that a refusal states.
    pub const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

    /// Returns `None` if the quota has no limit.
    pub(super) fn new(
        quota: &Quota,
        usage: impl FnOnce() -> Arc<Usage>,
        clock: &Arc<Clock>,
        replicas: &Arc<AtomicU32>,
    ) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            quota: *quota,
            limits: Limits::of(quota)?,
            usage: usage(),
            clock: Arc::clone(clock),
            replicas: Arc::clone(replicas),
        }))
    }

    /// Takes an amount of all limits, or of none.
    ///
    /// A request larger than a burst is taken if the burst is whole, and later ones wait for the
    /// rest. One larger than the limit of a day or a month is never taken.
    ///
    /// # Errors
    /// Returns the time after which it may fit, at most an hour.
    pub(crate) fn take(&self, amount: Amount) -> Result<Taken, Duration> {
        self.take_at(amount, self.clock.now(), wall_seconds)
    }

    /// Takes an amount as [`take`](Self::take) does.
    pub(super) fn take_at(&self, amount: Amount, now: u64, wall: impl FnOnce() -> u64) -> Result<Taken, Duration> {
        let amount = amount.times(self.replicas.load(Ordering::Relaxed));
        let periods = if self.limits.has_counts() {
            self.clock.periods(now, wall)
        } else {
            Periods { day: 0, month: 0 }
        };
        let mut longest = Duration::ZERO;
        let wait = |wait| longest = longest.max(self.time_of(wait, now));
        match self.usage.take(&self.limits, amount, (now, periods), wait) {
            Some(periods) => Ok(Taken { amount, periods }),
            None => Err(longest.min(Self::MAX_WAIT)),
        }
    }

    #[cold]
    fn time_of(&self, wait: Wait, now: u64) -> Duration {
        let [day, month] = self.clock.left(now);
        match wait {
            Wait::Time(units) => Duration::from_nanos(units.div_ceil(SECOND / 1_000_000_000)),
            Wait::Day => Duration::from_secs(day),
            Wait::Month => Duration::from_secs(month),
        }
    }

    /// Gives back what was taken.
    pub(crate) fn refund(&self, taken: Taken) {
        self.usage.refund(&self.limits, taken.amount, taken.periods);
    }

    /// Takes an amount of all limits, or of none. Dropping the charge gives it back.
    ///
    /// A request larger than a burst is taken if the burst is whole, and later ones wait for the
    /// rest. One larger than the limit of a day or a month is never taken.
    ///
    /// # Errors
    /// Returns the time after which it may fit, at most an hour.
    #[cfg(feature = "gateway")]
    pub fn charge(self: &Arc<Self>, amount: Amount) -> Result<Charge, Duration> {
        let taken = Some(self.take(amount)?);
        let limiter = Arc::clone(self);
        Ok(Charge { limiter, taken })
    }

    /// Returns how much of each limit is used. Of a rate, it is the burst.
    pub(crate) fn status(&self) -> Vec<QuotaUse> {
        let now = self.clock.now();
        let bursts = self.usage.bursts(&self.limits, now);
        let counts = self.usage.counts_of(self.clock.periods(now, wall_seconds));
        let quota = self.quota.with_bursts();
        let burst = |rate: Option<usize>, burst: Option<usize>| rate.and(burst);
        let limits = [
            (
                "spans_burst",
                burst(quota.spans_per_second, quota.spans_burst),
                bursts[0],
            ),
            (
                "bytes_burst",
                burst(quota.bytes_per_second, quota.bytes_burst),
                bursts[1],
            ),
            (
                "requests_burst",
                burst(quota.requests_per_second, quota.requests_burst),
                bursts[2],
            ),
            ("spans_per_day", quota.spans_per_day, counts[0]),
            ("bytes_per_day", quota.bytes_per_day, counts[1]),
            ("spans_per_month", quota.spans_per_month, counts[2]),
            ("bytes_per_month", quota.bytes_per_month, counts[3]),
        ];
        let used = limits.into_iter().filter_map(|(setting, limit, used)| {
            let limit = limit? as u64;
            let setting = setting.to_owned();
            Some(QuotaUse { setting, used, limit })
        });
        used.collect()
    }

    /// Converts what the owner owes, if its last quota was another one. For owners with one quota at
    /// a time.
    #[cfg(feature = "gateway")]
    pub(super) fn follow_change(&self) {
        self.usage.follow(&self.quota, self.clock.now());
    }

    /// Converts what the owner owes for a new quota, so that it owes as many items as before.
    pub(crate) fn convert(&self, to: &Quota) {
        self.usage.convert(&self.quota, to, self.clock.now());
    }
}

#[cfg(feature = "gateway")]
impl Charge {
    /// Keeps the amount taken.
    pub fn keep(mut self) {
        self.taken = None;
    }

    /// Keeps the amount taken. Returns a function that gives it back.
    #[cfg(feature = "spool")]
    pub(crate) fn keep_or_refund(mut self) -> impl FnOnce() + Send {
        let (limiter, taken) = (Arc::clone(&self.limiter), self.taken.take());
        move || {
            if let Some(taken) = taken {
                limiter.refund(taken);
            }
        }
    }
}

#[cfg(feature = "gateway")]
impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(taken) = self.taken {
            self.limiter.refund(taken);
        }
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limiter").field(&self.quota).finish()
    }
}

#[cfg(feature = "gateway")]
impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Charge").field(&self.taken).finish()
    }
}
