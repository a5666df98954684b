//! Ledgers of selectors without a tracer: which is evicted next, and the sums of those that were.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::ledger::Ledgers;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// How many selectors without a tracer are remembered, and as many again with losses that no report has told.
const REMEMBERED: usize = 1_000;

/// Selectors whose tracers are all gone, those that were listed first in front.
pub(crate) struct IdleSelectors {
    lists: ForkLock<Lists>,
    /// Notified if more are listed than are to be remembered.
    too_many: Arc<Notify>,
}

#[derive(Default)]
struct Lists {
    reported: VecDeque<Selector>,
    /// With losses that no report has told.
    unreported: VecDeque<Selector>,
}

/// What becomes of a ledger whose turn it is to be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// It has lanes: it is listed again when they are gone.
    Open,
    /// Somebody reads it, or it had lanes since it was listed: it waits for another turn.
    Again,
    /// Losses of it are in no report yet.
    Unreported,
    /// Only its sums are kept.
    Evict,
}

/// The sums of the ledgers that were evicted.
#[derive(Clone, Copy, Default)]
pub(crate) struct EvictedLedgers {
    /// How many ledgers were evicted.
    pub(crate) names: u64,
    pub(crate) ledgers: Ledgers,
    /// Spans that were started and recorded, and those that sampling left out.
    #[cfg(feature = "metrics")]
    pub(crate) starts: [u64; 2],
    /// How far this was reported.
    pub(super) reported: Ledgers,
}

impl IdleSelectors {
    pub(super) fn new(too_many: Arc<Notify>) -> Arc<Self> {
        let lists = ForkLock::default();
        Arc::new(Self { lists, too_many })
    }

    /// Lists a selector whose last tracer is gone.
    pub(super) fn list(&self, selector: Selector) {
        let mut lists = self.lists.lock();
        lists.reported.push_back(selector);
        let many = lists.reported.len() > REMEMBERED;
        drop(lists);
        if many {
            self.too_many.notify_one();
        }
    }

    /// Lists a selector again that was not evicted in its turn.
    pub(super) fn list_again(&self, selector: Selector, unreported: bool) {
        self.lists.lock().of(unreported).push_back(selector);
    }

    /// Returns how many are too many; the moves between the two lists are among them.
    pub(super) fn excess(&self) -> usize {
        let lists = self.lists.lock();
        let reported = lists.reported.len().saturating_sub(REMEMBERED);
        reported + (lists.unreported.len() + reported).saturating_sub(REMEMBERED)
    }

    /// Takes the next selector of a list that is too long, and returns whether it has losses that no report has told.
    pub(super) fn next(&self) -> Option<(Selector, bool)> {
        let mut lists = self.lists.lock();
        let unreported = lists.reported.len() <= REMEMBERED;
        let from = lists.of(unreported);
        if from.len() <= REMEMBERED {
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
