//! Eviction order of ledgers without tracers, and the totals of evicted ones.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

#[cfg(feature = "metrics")]
use super::counted_lane::Starts;
use crate::ledger::Ledgers;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Most selectors without tracers to keep, and as many again with unreported losses.
const MAX_IDLE: usize = 1_000;

/// Selectors without tracers, in the order of listing.
pub(crate) struct IdleSelectors {
    lists: ForkLock<Lists>,
    /// Notified if more than [`MAX_IDLE`] are listed.
    too_many: Arc<Notify>,
}

#[derive(Default)]
struct Lists {
    reported: VecDeque<Selector>,
    /// Selectors with unreported losses.
    unreported: VecDeque<Selector>,
}

/// Decision on a ledger considered for eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Keep: it has lanes. It is listed again when they are retired.
    Open,
    /// List again: it is in use, or had lanes since it was listed.
    Again,
    /// It has unreported losses.
    Unreported,
    /// Evict: keep only its totals.
    Evict,
}

/// Totals of the evicted ledgers.
#[derive(Clone, Copy, Default)]
pub(crate) struct EvictedLedgers {
    /// Number of evicted ledgers.
    pub(crate) names: u64,
    pub(crate) ledgers: Ledgers,
    #[cfg(feature = "metrics")]
    pub(crate) starts: Starts,
    /// Values that redaction changed or dropped.
    pub(crate) redacted: u64,
    /// The part that was reported.
    pub(super) reported: Ledgers,
}

impl IdleSelectors {
    pub(super) fn new(too_many: Arc<Notify>) -> Arc<Self> {
        let lists = ForkLock::default();
        Arc::new(Self { lists, too_many })
    }

    /// Lists a selector whose last tracer was retired.
    pub(super) fn list(&self, selector: Selector) {
        let mut lists = self.lists.lock();
        lists.reported.push_back(selector);
        let many = lists.reported.len() > MAX_IDLE;
        drop(lists);
        if many {
            self.too_many.notify_one();
        }
    }

    /// Lists a selector again that was not evicted.
    pub(super) fn relist(&self, selector: Selector, unreported: bool) {
        self.lists.lock().of(unreported).push_back(selector);
    }

    /// Returns the number of excess entries, including moves from the first list to the second.
    pub(super) fn excess(&self) -> usize {
        let lists = self.lists.lock();
        let reported = lists.reported.len().saturating_sub(MAX_IDLE);
        reported + (lists.unreported.len() + reported).saturating_sub(MAX_IDLE)
    }

    /// Takes the next selector of a list that is too long. Returns it and whether it is from the
    /// unreported list.
    pub(super) fn next(&self) -> Option<(Selector, bool)> {
        let mut lists = self.lists.lock();
        let unreported = lists.reported.len() <= MAX_IDLE;
        let from = lists.of(unreported);
        if from.len() <= MAX_IDLE {
            return None;
        }
        Some((from.pop_front()?, unreported))
    }
}

impl Lists {
    fn of(&mut self, unreported: bool) -> &mut VecDeque<Selector> {
        if unreported {
            &mut self.unreported
        } else {
            &mut self.reported
        }
    }
}
