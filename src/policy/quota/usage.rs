//! What one owner has used, and the limits that it is compared with.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::clock::Periods;
use super::count;
use super::rate::Rate;
use crate::config::Quota;
use crate::util::fork::ForkLock;

/// What a request takes of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Spans.
    pub spans: u64,
    /// Bytes of spans, uncompressed.
    pub bytes: u64,
    /// Requests of clients.
    pub requests: u64,
}

impl Amount {
    /// Returns what is taken if each of several replicas takes as much.
    pub(super) fn times(self, replicas: u32) -> Self {
        let times = |amount: u64| amount.saturating_mul(u64::from(replicas));
        Self {
            spans: times(self.spans),
            bytes: times(self.bytes),
            requests: times(self.requests),
        }
    }
}

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaUse {
    /// Name of its setting, such as `spans_per_day`. Of a rate, it is that of the burst.
    pub setting: String,
    /// What is used now. Of a burst, more than the limit after a request larger than it.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// What an owner has used: the words of its rates and counts.
#[derive(Default)]
pub(super) struct Usage {
    rates: [AtomicU64; 3],
    /// Spans and bytes of the day, spans and bytes of the month.
    counts: [AtomicU64; 4],
    /// Whether a count changed since it was last read to be saved.
    pub(super) is_changed: AtomicBool,
    /// The change of a quota that the rates were converted for last.
    converted: ForkLock<Option<(Quota, Quota)>>,
}

/// A quota as limits of a [`Usage`], in the same order.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    rates: [Option<Rate>; 3],
    counts: [Option<u64>; 4],
}

/// Why a request has to wait.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// For this time, in units of the clock.
    Time(u64),
    Day,
    Month,
}

/// A limit, by its place.
#[derive(Clone, Copy)]
enum Limit {
    Rate(usize, Rate),
    Count(usize, u64),
}

impl Limits {
    /// Returns `None` without any limit.
    pub(super) fn of(quota: &Quota) -> Option<Self> {
        let rate = |rate: Option<usize>, burst| rate.map(|rate| Rate::new(rate, burst));
        let limits = Self {
            rates: [
                rate(quota.spans_per_second, quota.spans_burst),
                rate(quota.bytes_per_second, quota.bytes_burst),
                rate(quota.requests_per_second, quota.requests_burst),
            ],
            counts: [
                quota.spans_per_day,
                quota.bytes_per_day,
                quota.spans_per_month,
                quota.bytes_per_month,
            ]
            .map(|limit| limit.map(|limit| limit as u64)),
        };
        let is_limited = limits.rates.iter().any(Option::is_some) || limits.has_counts();
        is_limited.then_some(limits)
    }

    pub(super) fn has_counts(&self) -> bool {
        self.counts.iter().any(Option::is_some)
    }

    /// Returns the limits that an amount counts for, each with what it takes of it.
    fn applied(&self, amount: Amount) -> impl Iterator<Item = (Limit, u64)> {
        let Amount { spans, bytes, requests } = amount;
        let rates = self.rates.iter().enumerate().zip([spans, bytes, requests]);
        let rates = rates.filter_map(|((at, rate), items)| Some((Limit::Rate(at, (*rate)?), items)));
        let counts = self.counts.iter().enumerate().zip([spans, bytes, spans, bytes]);
        let counts = counts.filter_map(|((at, count), items)| Some((Limit::Count(at, (*count)?), items)));
        rates.chain(counts).filter(|(_, items)| *items > 0)
    }
}

impl Usage {
    /// Takes an amount of each limit, or of none. Returns the periods that it counts in.
    ///
    /// # Errors
    /// Calls `wait` for each limit that it does not fit.
    pub(super) fn take(
        &self,
        limits: &Limits,
        amount: Amount,
        (now, periods): (u64, Periods),
        mut wait: impl FnMut(Wait),
    ) -> Option<Periods> {
        let mut fits = true;
        for (limit, items) in limits.applied(amount) {
            if let Err(reason) = self.check(limit, items, now, periods) {
                fits = false;
                wait(reason);
            }
        }
        if !fits {
            return None;
        }
        let mut counted_in = periods;
        for (place, (limit, items)) in limits.applied(amount).enumerate() {
            if let Err(reason) = self.take_one(limit, items, now, &mut counted_in) {
                // Another thread was faster since the check.
                for (limit, items) in limits.applied(amount).take(place) {
                    self.refund_one(limit, items, counted_in);
                }
                wait(reason);
                return None;
            }
        }
        Some(counted_in)
    }

    /// Gives back what was taken.
    pub(super) fn refund(&self, limits: &Limits, amount: Amount, periods: Periods) {
        for (limit, items) in limits.applied(amount) {
            self.refund_one(limit, items, periods);
        }
    }

    fn check(&self, limit: Limit, items: u64, now: u64, periods: Periods) -> Result<(), Wait> {
        match limit {
            Limit::Rate(at, rate) => rate.check(&self.rates[at], items, now).map_err(Wait::Time),
            Limit::Count(at, max) if count::check(&self.counts[at], items, max, period(at, periods)) => Ok(()),
            Limit::Count(at, _) => Err(period_wait(at)),
        }
    }

    fn take_one(&self, limit: Limit, items: u64, now: u64, periods: &mut Periods) -> Result<(), Wait> {
        match limit {
            Limit::Rate(at, rate) => rate.take(&self.rates[at], items, now).map_err(Wait::Time),
            Limit::Count(at, max) => {
                let taken = count::take(&self.counts[at], items, max, period(at, *periods));
                let counted_in = taken.ok_or(period_wait(at))?;
                *(if at < 2 { &mut periods.day } else { &mut periods.month }) = counted_in;
                // Relaxed: the counts are read again if they change after this was read.
                if !self.is_changed.load(Ordering::Relaxed) {
                    self.is_changed.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }

    fn refund_one(&self, limit: Limit, items: u64, periods: Periods) {
        match limit {
            Limit::Rate(at, rate) => rate.refund(&self.rates[at], items),
            Limit::Count(at, _) => count::refund(&self.counts[at], items, period(at, periods)),
        }
    }

    /// Returns how much of the burst of each rate is used.
    pub(super) fn bursts(&self, limits: &Limits, now: u64) -> [u64; 3] {
        [0, 1, 2].map(|at| limits.rates[at].map_or(0, |rate| rate.used(&self.rates[at], now)))
    }

    /// Returns the counts of the current periods.
    pub(super) fn counts_of(&self, periods: Periods) -> [u64; 4] {
        [0, 1, 2, 3].map(|at| count::used(&self.counts[at], period(at, periods)))
    }

    /// Adds what was used before, to the current day and month.
    #[cfg(feature = "spool")]
    pub(super) fn restore(&self, counts: [u64; 4], periods: Periods) {
        for (at, items) in counts.into_iter().enumerate().filter(|(_, items)| *items > 0) {
            count::add(&self.counts[at], items, period(at, periods));
        }
    }

    /// Returns whether forgetting it would change an answer.
    pub(super) fn is_needed(&self, now: u64, periods: Periods) -> bool {
        let owes = |word: &AtomicU64| word.load(Ordering::Relaxed) > now;
        self.rates.iter().any(owes) || self.counts_of(periods).iter().any(|count| *count > 0)
    }

    /// Converts what is owed from the last quota to this one.
    #[cfg(feature = "gateway")]
    pub(super) fn follow(&self, quota: &Quota, now: u64) {
        let last = self.converted.lock().map_or(*quota, |(_, last)| last);
        self.convert(&last, quota, now);
    }

    /// Converts what is owed after a change of the quota, once if several selectors have the same
    /// change.
    pub(super) fn convert(&self, from: &Quota, to: &Quota, now: u64) {
        let (Some(before), Some(after)) = (Limits::of(from), Limits::of(to)) else {
            return;
        };
        let change = Some((*from, *to));
        if std::mem::replace(&mut *self.converted.lock(), change) == change {
            return;
        }
        for ((word, before), after) in self.rates.iter().zip(before.rates).zip(after.rates) {
            if let (Some(before), Some(after)) = (before, after)
                && before != after
            {
                after.convert(before, word, now);
            }
        }
    }
}

fn period(at: usize, periods: Periods) -> u16 {
    if at < 2 { periods.day } else { periods.month }
}

fn period_wait(at: usize) -> Wait {
    if at < 2 { Wait::Day } else { Wait::Month }
}
