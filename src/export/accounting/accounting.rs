//! The books of all selectors, and what is left of those that are no longer remembered by name.
//!
//! A name whose tracers are all gone is remembered, so that its books can be looked at and go on where it is asked for again. Where
//! more than [`REMEMBERED`] such names are there, the sums of the one that was there first go into one account for all that are forgotten:
//! memory does not grow with the names that ever were, and no span is missing from the sum of all. Names with losses that no
//! report has told yet are remembered apart, as many again.
//!
//! An account is moved there under the lock of the forgotten ones, and only where nobody else has it: who reads all books takes the accounts
//! and the forgotten sums under that lock, and so has each span once.

use std::collections::VecDeque;
#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use tokio::sync::Notify;

#[cfg(feature = "metrics")]
use super::selector_ledger::MetricsEntry;
use super::selector_ledger::{Eviction, SelectorLedger};
use crate::ledger::Ledger;
use crate::selector::Selector;

/// How many names without a tracer are remembered, and as many again with losses that were not told.
const REMEMBERED: usize = 1_000;

/// The books of one registry.
pub(crate) struct Accounting {
    accounts: DashMap<Selector, Arc<SelectorLedger>>,
    settled: Arc<IdleSelectors>,
    evicted: Mutex<EvictedLedgers>,
    #[cfg(feature = "metrics")]
    begun: AtomicUsize,
}

/// Names whose tracers are all gone, those that were listed first in front.
pub(crate) struct IdleSelectors {
    names: Mutex<Names>,
    /// Rung where there are more than are to be remembered.
    bell: Arc<Notify>,
}

#[derive(Default)]
struct Names {
    told: VecDeque<Selector>,
    untold: VecDeque<Selector>,
}

/// What is left of the names that are forgotten.
#[derive(Clone, Copy, Default)]
pub(crate) struct EvictedLedgers {
    /// How often a name was forgotten.
    pub(crate) names: u64,
    pub(crate) spans: Ledger,
    pub(crate) events: Ledger,
    /// Spans that were started and recorded, and those that sampling left out.
    #[cfg(feature = "metrics")]
    pub(crate) starts: [u64; 2],
    /// How far this was reported.
    pub(crate) reported: (Ledger, Ledger),
}

impl Accounting {
    /// `bell` is rung where [`forget`](Self::forget) has something to do.
    pub(crate) fn new(bell: Arc<Notify>) -> Self {
        Self {
            accounts: DashMap::new(),
            settled: Arc::new(IdleSelectors {
                names: Mutex::default(),
                bell,
            }),
            evicted: Mutex::default(),
            #[cfg(feature = "metrics")]
            begun: AtomicUsize::new(0),
        }
    }

    /// The books of a selector, begun where there are none. While the caller has them, they are not forgotten.
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "metrics name it"))]
    pub(crate) fn account(&self, selector: &Selector, traces_url: &str) -> Arc<SelectorLedger> {
        let account = self.accounts.entry(selector.clone()).or_insert_with(|| {
            SelectorLedger::new(
                selector.clone(),
                Arc::clone(&self.settled),
                // Relaxed: only the number itself matters.
                #[cfg(feature = "metrics")]
                MetricsEntry::new(self.begun.fetch_add(1, Ordering::Relaxed), traces_url),
            )
        });
        Arc::clone(&account)
    }

    /// All accounts in the order of their selectors, and what is left of the others at the same moment. Clones, so that no lock of the map
    /// is held while anybody works.
    pub(crate) fn all(&self) -> (Vec<Arc<SelectorLedger>>, EvictedLedgers) {
        let evicted = self.lock();
        let mut accounts: Vec<Arc<SelectorLedger>> =
            self.accounts.iter().map(|entry| Arc::clone(entry.value())).collect();
        let sums = *evicted;
        drop(evicted);
        accounts.sort_by(|one, other| one.selector.cmp(&other.selector));
        (accounts, sums)
    }

    /// What became of the forgotten ones since the report before `earlier`.
    pub(crate) fn report_evicted(&self, earlier: &EvictedLedgers) -> EvictedLedgers {
        let mut evicted = self.lock();
        evicted.reported = (evicted.spans, evicted.events);
        EvictedLedgers {
            spans: evicted.spans.since(&earlier.reported.0),
            events: evicted.events.since(&earlier.reported.1),
            ..*evicted
        }
    }

    /// Forgets the names that are too many. For the engine's threads.
    pub(crate) fn forget(&self) {
        // Those that wait for another turn have it the next time.
        let turns = self.settled.too_many();
        for selector in (0..turns).map_while(|_| self.settled.next()) {
            self.forget_one(selector);
        }
    }

    fn forget_one(&self, (selector, was_untold): (Selector, bool)) {
        let mut evicted = self.lock();
        let mut eviction = Eviction::Open;
        let removed = self.accounts.remove_if(&selector, |_, account| {
            // Nobody can come by it while the map is locked here, and so one that nobody has stays as it is.
            eviction = account.eviction(Arc::strong_count(account) == 1);
            eviction == Eviction::Forget || (eviction == Eviction::Untold && was_untold)
        });
        let Some((_, account)) = removed else {
            drop(evicted);
            match eviction {
                Eviction::Open | Eviction::Forget => {}
                Eviction::Again => self.settled.lock().of(was_untold).push_back(selector),
                Eviction::Untold => self.settled.lock().of(true).push_back(selector),
            }
            return;
        };
        let [sums, reported] = account.sums();
        evicted.names += 1;
        #[cfg(feature = "metrics")]
        {
            evicted.starts[0] += account.starts().recorded();
            evicted.starts[1] += account.starts().left_out();
        }
        evicted.spans.add(&sums.0);
        evicted.events.add(&sums.1);
        evicted.reported.0.add(&reported.0);
        evicted.reported.1.add(&reported.1);
    }

    fn lock(&self) -> MutexGuard<'_, EvictedLedgers> {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleSelectors {
    /// The last tracer of a name is gone.
    pub(crate) fn list(&self, selector: Selector) {
        let mut names = self.lock();
        names.told.push_back(selector);
        let many = names.told.len() > REMEMBERED;
        drop(names);
        if many {
            self.bell.notify_one();
        }
    }

    /// How many are too many; the moves between the two lists are among them.
    fn too_many(&self) -> usize {
        let names = self.lock();
        let told = names.told.len().saturating_sub(REMEMBERED);
        told + (names.untold.len() + told).saturating_sub(REMEMBERED)
    }

    /// The name whose turn it is, and whether it is one with losses that were not told.
    fn next(&self) -> Option<(Selector, bool)> {
        let mut names = self.lock();
        let untold = names.told.len() <= REMEMBERED;
        let from = names.of(untold);
        if from.len() <= REMEMBERED {
            return None;
        }
        Some((from.pop_front()?, untold))
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn of(&mut self, untold: bool) -> &mut VecDeque<Selector> {
        if untold { &mut self.untold } else { &mut self.told }
    }
}
