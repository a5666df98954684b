//! Selectors without a tracer, in the order in which their ledgers are evicted.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

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
