//! The ledgers of all selectors, and the sums of those that are no longer remembered by name.
//!
//! A selector whose tracers are all gone is remembered, so that its ledger can be read and goes on if the selector is asked for again. If
//! too many such selectors are remembered, the ledger of the one that was listed first is evicted: its numbers are added to the
//! [`EvictedLedgers`]. So memory does not grow with the selectors that ever were, and no span is missing from the sum of all. Selectors with
//! losses that no report has told yet are remembered apart, as many again.
//!
//! A ledger is evicted under the lock of the evicted sums, and only if nobody else has it. Who reads all ledgers takes them and the evicted
//! sums under that lock, and so counts each span once.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::eviction::{EvictedLedgers, Eviction, IdleSelectors};
#[cfg(feature = "metrics")]
use super::selector_ledger::MetricsEntry;
use super::selector_ledger::SelectorLedger;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// The ledgers of one registry.
pub(crate) struct Accounting {
    ledgers: DashMap<Selector, Arc<SelectorLedger>>,
    idle: Arc<IdleSelectors>,
    evicted: ForkLock<EvictedLedgers>,
    #[cfg(feature = "metrics")]
    begun: AtomicUsize,
}

impl Accounting {
    /// Notifies `too_many` if [`evict`](Self::evict) has something to do.
    pub(crate) fn new(too_many: Arc<Notify>) -> Self {
        Self {
            ledgers: DashMap::new(),
            idle: IdleSelectors::new(too_many),
            evicted: ForkLock::default(),
            #[cfg(feature = "metrics")]
            begun: AtomicUsize::new(0),
        }
    }

    /// Returns the ledger of a selector, a new one if there is none. It is not evicted while the caller has it.
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "metrics name it"))]
    pub(crate) fn ledger(&self, selector: &Selector, traces_url: &str) -> Arc<SelectorLedger> {
        let ledger = self.ledgers.entry(selector.clone()).or_insert_with(|| {
            SelectorLedger::new(
                selector.clone(),
                Arc::clone(&self.idle),
                // Relaxed: only the number itself matters.
                #[cfg(feature = "metrics")]
                MetricsEntry::new(self.begun.fetch_add(1, Ordering::Relaxed), traces_url),
            )
        });
        Arc::clone(&ledger)
    }

    /// Returns all ledgers in the order of their selectors, and the sums of the evicted ones at the same moment. Clones, so that the caller
    /// holds no lock of the map.
    pub(crate) fn all(&self) -> (Vec<Arc<SelectorLedger>>, EvictedLedgers) {
        let evicted = self.evicted.lock();
        let mut ledgers: Vec<Arc<SelectorLedger>> =
            self.ledgers.iter().map(|entry| Arc::clone(entry.value())).collect();
        let sums = *evicted;
        drop(evicted);
        ledgers.sort_by(|one, other| one.selector.cmp(&other.selector));
        (ledgers, sums)
    }

    /// Returns what became of the evicted ones since the report before `earlier`.
    pub(crate) fn report_evicted(&self, earlier: &EvictedLedgers) -> EvictedLedgers {
        let mut evicted = self.evicted.lock();
        evicted.reported = evicted.ledgers;
        EvictedLedgers {
            ledgers: evicted.ledgers.since(&earlier.reported),
            ..*evicted
        }
    }

    /// Evicts the ledgers that are too many. For the engine's threads.
    pub(crate) fn evict(&self) {
        // Those that wait for another turn have it the next time.
        let turns = self.idle.excess();
        for (selector, was_unreported) in (0..turns).map_while(|_| self.idle.next()) {
            self.evict_one(selector, was_unreported);
        }
    }

    fn evict_one(&self, selector: Selector, was_unreported: bool) {
        let mut evicted = self.evicted.lock();
        let mut eviction = Eviction::Open;
        let removed = self.ledgers.remove_if(&selector, |_, ledger| {
            // While the map is locked here no one can get it, so a ledger that nobody has stays as it is.
            eviction = ledger.eviction(Arc::strong_count(ledger) == 1);
            eviction == Eviction::Evict || (eviction == Eviction::Unreported && was_unreported)
        });
        match (removed, eviction) {
            (Some((_, ledger)), _) => ledger.add_to(&mut evicted),
            (None, Eviction::Open | Eviction::Evict) => {}
            (None, Eviction::Again) => self.idle.list_again(selector, was_unreported),
            (None, Eviction::Unreported) => self.idle.list_again(selector, true),
        }
    }
}
