//! The ledgers of all selectors, and the totals of evicted ones.
//!
//! A selector without tracers keeps its ledger, which continues if the selector is used again. If
//! there are too many such selectors, the oldest ledger is evicted: its numbers are added to the
//! [`EvictedLedgers`]. So memory does not grow with the number of selectors, and no span is missing
//! from the total. Selectors with unreported losses have a separate list of the same size. The
//! ledger of a selector with data on disk is not evicted.
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
#[cfg(feature = "spool")]
use tracer_registry_spool::{Lost, Oldest, QueueDepth};

use super::eviction::{EvictedLedgers, Eviction, IdleSelectors};
#[cfg(feature = "metrics")]
use super::selector_ledger::MetricsEntry;
use super::selector_ledger::SelectorLedger;
#[cfg(feature = "spool")]
use crate::ledger::{DropReason, Ledger};
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

/// Returns the selector of a queue. `None` if it is not the name of a queue that a lane takes from.
#[cfg(feature = "spool")]
fn selector_of(queue: &str) -> Option<Selector> {
    let selector: Selector = queue.parse().ok()?;
    (selector.to_string() == queue).then_some(selector)
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
        let ledger = self.find_or_create(selector);
        #[cfg(feature = "metrics")]
        ledger.metrics.get_or_init(|| {
            // Relaxed: the counter orders no other data.
            MetricsEntry::new(self.begun.fetch_add(1, Ordering::Relaxed), traces_url)
        });
        ledger
    }

    /// Like [`ledger`](Self::ledger), for a selector without a tracer.
    pub(crate) fn find_or_create(&self, selector: &Selector) -> Arc<SelectorLedger> {
        let entry = self.ledgers.entry(selector.clone());
        let ledger = entry.or_insert_with(|| SelectorLedger::new(selector.clone(), Arc::clone(&self.idle)));
        Arc::clone(&ledger)
    }

    /// Counts what an opened store holds, which was accepted by an earlier process. Returns the
    /// ledgers of its selectors. Rows of a queue that is no selector stay on disk until they expire.
    #[cfg(feature = "spool")]
    pub(crate) fn recover(&self, queues: &[QueueDepth]) -> Vec<Arc<SelectorLedger>> {
        let found = queues.iter().filter_map(|depth| {
            let ledger = self.find_or_create(&selector_of(&depth.queue)?);
            ledger.on_disk(|backlog, totals| {
                totals.spans.recover(depth.spans);
                totals.events.recover(depth.events);
                backlog.note_recovered(depth);
            });
            Some(ledger)
        });
        found.collect()
    }

    /// Counts rows that were on disk alone and are gone.
    #[cfg(feature = "spool")]
    pub(crate) fn lost(&self, why: Lost, depth: &QueueDepth) {
        let Some(ledger) = selector_of(&depth.queue).and_then(|selector| self.find(&selector)) else {
            return;
        };
        let reason = match why {
            Lost::Expired => Some(DropReason::SpoolExpired),
            Lost::Damaged => Some(DropReason::SpoolDamaged),
            Lost::Moved => None,
        };
        ledger.on_disk(|backlog, totals| {
            let lose = |ledger: &mut Ledger, count| match reason {
                Some(reason) => ledger.drop_on_disk(count, reason),
                None => ledger.stream_from_disk(count),
            };
            lose(&mut totals.spans, depth.spans);
            lose(&mut totals.events, depth.events);
            backlog.note_lost(depth);
        });
    }

    /// Notes the oldest row of a queue that an earlier process left.
    #[cfg(feature = "spool")]
    pub(crate) fn note_oldest(&self, oldest: &Oldest) {
        if let Some(ledger) = selector_of(&oldest.queue).and_then(|selector| self.find(&selector)) {
            ledger.on_disk(|backlog, _| backlog.note_found(oldest.kind, oldest.created));
        }
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

#[cfg(all(test, feature = "spool"))]
mod tests {
    use super::*;

    fn depth(queue: &str, spans: u64) -> QueueDepth {
        QueueDepth {
            queue: queue.into(),
            spans,
            events: 1,
            span_rows: 1,
            event_rows: 1,
            bytes: 100,
        }
    }

    #[test]
    fn recovered_and_lost_data_is_in_the_ledger_of_its_selector() {
        let accounting = Accounting::new(Arc::default());
        let other_order = "tenant:b,environment:x";
        let found = accounting.recover(&[
            depth("tenant:a", 5),
            depth("environment:x,tenant:b", 1),
            depth(other_order, 7),
            depth("no selector", 7),
        ]);
        assert_eq!(found.len(), 2);
        let ledger = &found[0];
        let spans = || ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!((spans().accepted, spans().recovered, spans().spooled), (5, 5, 5));
        accounting.lost(Lost::Expired, &depth("tenant:a", 3));
        assert_eq!((spans().accepted, spans().spooled), (5, 2));
        assert_eq!(spans().dropped, [(DropReason::SpoolExpired, 3)].into());
        accounting.lost(Lost::Moved, &depth("environment:x,tenant:b", 1));
        let moved = found[1].snapshot().ledgers.spans.snapshot();
        assert_eq!((moved.accepted, moved.spooled, moved.streamed), (1, 0, 1));
        let report = ledger.report(&ledger.begin_flush());
        assert_eq!(
            (report.lost(), report.spooled, report.session_events.spooled),
            (4, 2, 0)
        );
        assert_eq!(ledger.report(&ledger.begin_flush()).lost(), 0, "reported once");
    }

    #[test]
    fn a_ledger_with_data_on_disk_is_evicted_only_after_it_is_gone() {
        let accounting = Accounting::new(Arc::default());
        let name = |number: usize| format!("tenant:t{number}");
        let depths: Vec<_> = (0..2_500).map(|number| depth(&name(number), 1)).collect();
        drop(accounting.recover(&depths));
        let count = || {
            accounting.evict();
            accounting.all().0.len()
        };
        assert_eq!((count(), accounting.evicted().names), (2_500, 0));
        // Losses are reported before they are evicted.
        for number in 0..2_200 {
            accounting.lost(Lost::Damaged, &depth(&name(number), 1));
        }
        count();
        assert_eq!((count(), accounting.evicted().names), (2_300, 200));
        assert_eq!(accounting.evicted().ledgers.spans.accepted(), 200);
    }
}
