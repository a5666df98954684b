//! The usage of all owners of a registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
#[cfg(feature = "spool")]
use tracer_registry_spool::Usage as SavedUsage;

#[cfg(feature = "spool")]
use super::clock::Calendar;
use super::clock::{Clock, wall_seconds};
use super::limiter::Limiter;
use super::usage::Usage;
use crate::config::Quota;
use crate::selector::{Selector, SelectorKind};

/// So many owners are kept without a look for those that are not needed.
const FEW: usize = 1024;

/// What all owners with a quota have used: tenants, and callers of the gateway.
///
/// A usage is kept while it has a limiter, owes something, or has a count of the current day or
/// month.
pub(crate) struct Quotas {
    owners: DashMap<Arc<str>, Arc<Usage>, RandomState>,
    clock: Arc<Clock>,
    /// Number of replicas that share the quotas: what one takes counts for all of them.
    replicas: Arc<AtomicU32>,
    /// Number of owners at which the next sweep is due.
    sweep_at: AtomicUsize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            owners: DashMap::default(),
            clock: Arc::new(Clock::new(wall_seconds())),
            replicas: Arc::new(AtomicU32::new(1)),
            sweep_at: AtomicUsize::new(FEW),
        }
    }
}

impl Quotas {
    /// Returns the limiter of a selector, or `None` without a limit. All selectors of a tenant share
    /// what it has used.
    pub(crate) fn of_selector(&self, selector: &Selector, quota: &Quota) -> Option<Arc<Limiter>> {
        let owner = || match selector.get(SelectorKind::Tenant) {
            Some(tenant) => format!("tenant:{tenant}"),
            None => selector.to_string(),
        };
        Limiter::new(quota, || self.usage(&owner()), &self.clock, &self.replicas)
    }

    /// Returns the limiter of a caller of the gateway, or `None` without a limit. After a change of
    /// its quota, it owes as many items as before.
    #[cfg(feature = "gateway")]
    pub(crate) fn of_caller(&self, caller: &str, quota: &Quota) -> Option<Arc<Limiter>> {
        let limiter = Limiter::new(
            quota,
            || self.usage(&format!("{CALLER}{caller}")),
            &self.clock,
            &self.replicas,
        )?;
        limiter.follow_change();
        Some(limiter)
    }

    /// Sets the number of replicas that share the quotas. Each may take its part of a limit.
    #[cfg(feature = "gateway")]
    pub(crate) fn share_among(&self, replicas: u32) {
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    fn usage(&self, owner: &str) -> Arc<Usage> {
        if let Some(usage) = self.owners.get(owner) {
            return Arc::clone(&usage);
        }
        self.sweep();
        Arc::clone(&self.owners.entry(owner.into()).or_default())
    }

    /// Removes what is not needed, if the owners have become many since the last time.
    fn sweep(&self) {
        // Relaxed: a second thread that sweeps finds little to do.
        if self.owners.len() < self.sweep_at.load(Ordering::Relaxed) {
            return;
        }
        let now = self.clock.now();
        let periods = self.clock.periods(now, wall_seconds);
        // The map's lock is held, so no limiter takes the usage meanwhile.
        self.owners
            .retain(|_, usage| Arc::strong_count(usage) > 1 || usage.is_needed(now, periods));
        self.sweep_at.store(FEW.max(2 * self.owners.len()), Ordering::Relaxed);
    }

    /// Returns what was used in the current day and month by owners with a change since the last
    /// call.
    #[cfg(feature = "spool")]
    pub(crate) fn changed(&self) -> Vec<SavedUsage> {
        let periods = self.clock.periods(self.clock.now(), wall_seconds);
        let Calendar { day, month } = self.clock.calendar();
        let mut changed = Vec::new();
        for entry in &self.owners {
            let (owner, usage) = entry.pair();
            // Cleared first: a later change is saved again.
            if usage.is_changed.swap(false, Ordering::Relaxed) {
                changed.push(SavedUsage {
                    owner: Arc::clone(owner),
                    day,
                    month,
                    counts: usage.counts_of(periods),
                });
            }
        }
        changed
    }

    /// Makes [`changed`](Self::changed) return all owners again.
    #[cfg(feature = "spool")]
    pub(crate) fn note_all_changed(&self) {
        for usage in &self.owners {
            usage.is_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Adds what was used in the current day and month before this process.
    ///
    /// A day or a month that is yet to come was saved by a clock that was ahead, or this one is
    /// behind. It counts as the current one, so that the clock gives no second quota.
    #[cfg(feature = "spool")]
    pub(crate) fn restore(&self, saved: &[SavedUsage]) {
        let periods = self.clock.periods(self.clock.now(), wall_seconds);
        let Calendar { day, month } = self.clock.calendar();
        for saved in saved {
            let [spans_of_day, bytes_of_day, spans_of_month, bytes_of_month] = saved.counts;
            let of_day = if saved.day >= day {
                [spans_of_day, bytes_of_day]
            } else {
                [0; 2]
            };
            let of_month = if saved.month >= month {
                [spans_of_month, bytes_of_month]
            } else {
                [0; 2]
            };
            let counts = [of_day[0], of_day[1], of_month[0], of_month[1]];
            if counts == [0; 4] {
                continue;
            }
            let usage = self.usage(&saved.owner);
            usage.restore(counts, periods);
            if saved.day > day || saved.month > month {
                // Saved again as what it counts as now.
                usage.is_changed.store(true, Ordering::Relaxed);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }
}

/// What comes before the name of a caller. No selector begins with it.
#[cfg(feature = "gateway")]
const CALLER: &str = "caller:";
