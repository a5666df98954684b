//! The ledgers of all selectors, and the totals of evicted ones.
//!
//! A selector without tracers keeps its ledger, which continues if the selector is used again. If
//! there are too many such selectors, the oldest ledger is evicted: its numbers are added to the
//! [`EvictedLedgers`]. So memory does not grow with the number of selectors, and no span is missing
//! from the total. Selectors with unreported losses have a separate list of the same size.
//!
//! A ledger is evicted under the lock of the evicted totals, and only if it has no other owner.
//! Readers of all ledgers take them and the evicted totals under that lock, so each span counts
//! once.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::eviction::{EvictedLedgers, Eviction, IdleSelectors};
#[cfg(feature = "metrics")]
use super::selector_ledger::MetricsEntry;
use super::selector_ledger::SelectorLedger;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// The ledgers of one registry.
pub(crate) struct Accounting {
    ledgers: DashMap<Selector, Arc<SelectorLedger>, RandomState>,
    idle: Arc<IdleSelectors>,
    evicted: ForkLock<EvictedLedgers>,
    #[cfg(feature = "metrics")]
    begun: AtomicUsize,
}

impl Accounting {
    /// Creates empty accounting. Notifies `too_many` when [`evict`](Self::evict) has work.
    pub(crate) fn new(too_many: Arc<Notify>) -> Self {
        Self {
            ledgers: DashMap::default(),
            idle: IdleSelectors::new(too_many),
            evicted: ForkLock::default(),
            #[cfg(feature = "metrics")]
            begun: AtomicUsize::new(0),
        }
    }

    /// Returns the ledger of a selector, creating it if needed. It is not evicted while the caller
    /// holds it.
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "metrics name it"))]
    pub(crate) fn ledger(&self, selector: &Selector, traces_url: &str) -> Arc<SelectorLedger> {
        let ledger = self.ledgers.entry(selector.clone()).or_insert_with(|| {
            SelectorLedger::new(
                selector.clone(),
                Arc::clone(&self.idle),
                // Relaxed: the counter orders no other data.
                #[cfg(feature = "metrics")]
                MetricsEntry::new(self.begun.fetch_add(1, Ordering::Relaxed), traces_url),
            )
        });
        Arc::clone(&ledger)
    }

    /// Returns the ledger of a selector, if there is one. It is not evicted while the caller holds
    /// it.
    pub(crate) fn find(&self, selector: &Selector) -> Option<Arc<SelectorLedger>> {
        self.ledgers.get(selector).map(|ledger| Arc::clone(&ledger))
    }

    /// Returns all ledgers in no order, and the totals of evicted ones at the same moment. The
    /// caller holds no lock of the map.
    pub(crate) fn all(&self) -> (Vec<Arc<SelectorLedger>>, EvictedLedgers) {
        let evicted = self.evicted.lock();
        let ledgers = self.ledgers.iter().map(|entry| Arc::clone(entry.value())).collect();
        (ledgers, *evicted)
    }

    /// Like [`all`](Self::all), with the ledgers sorted by selector.
    pub(crate) fn all_sorted(&self) -> (Vec<Arc<SelectorLedger>>, EvictedLedgers) {
        let (mut ledgers, evicted) = self.all();
        ledgers.sort_unstable_by(|one, other| one.selector.cmp(&other.selector));
        (ledgers, evicted)
    }

    /// Returns the totals of evicted ledgers.
    pub(crate) fn evicted(&self) -> EvictedLedgers {
        *self.evicted.lock()
    }

    /// Returns the evicted totals since the report before `earlier`, and marks them as reported.
    pub(crate) fn report_evicted(&self, earlier: &EvictedLedgers) -> EvictedLedgers {
        let mut evicted = self.evicted.lock();
        evicted.reported = evicted.ledgers;
        EvictedLedgers {
            ledgers: evicted.ledgers.since(&earlier.reported),
            ..*evicted
        }
    }

    /// Evicts the excess ledgers. Runs on the engine's threads.
    pub(crate) fn evict(&self) {
        // Ledgers that are listed again wait for the next call.
        let turns = self.idle.excess();
        for (selector, was_unreported) in (0..turns).map_while(|_| self.idle.next()) {
            self.evict_one(selector, was_unreported);
        }
    }

    fn evict_one(&self, selector: Selector, was_unreported: bool) {
        let mut evicted = self.evicted.lock();
        let mut eviction = Eviction::Open;
        let removed = self.ledgers.remove_if(&selector, |_, ledger| {
            // The map entry is locked, so a ledger without other owners cannot get one.
            eviction = ledger.eviction(Arc::strong_count(ledger) == 1);
            eviction == Eviction::Evict || (eviction == Eviction::Unreported && was_unreported)
        });
        match (removed, eviction) {
            (Some((_, ledger)), _) => ledger.add_to(&mut evicted),
            (None, Eviction::Open | Eviction::Evict) => {}
            (None, Eviction::Again) => self.idle.relist(selector, was_unreported),
            (None, Eviction::Unreported) => self.idle.relist(selector, true),
        }
    }
}
