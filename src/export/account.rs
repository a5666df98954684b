//! All lanes that a selector ever had, and the ledgers of those that are gone: a name's ledger goes on across its tracers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::lane::{FlushMark, Lane, LaneSnapshot};
use super::report::TracerReport;
use crate::ledger::Ledger;
use crate::selector::Selector;

/// The books of one selector.
pub(crate) struct Account {
    pub(crate) selector: Selector,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Arc<Lane>>,
    /// The ledgers of lanes that are gone, for spans and for session events.
    retired: (Ledger, Ledger),
    /// Where the books stood when the last report was made: what happened since has not been told yet.
    reported: (Ledger, Ledger),
}

/// A flush of all lanes of a selector.
pub(crate) struct AccountFlush {
    lanes: Vec<(Arc<Lane>, FlushMark)>,
    /// Where the books stood when the last report before this flush was made.
    reported: (Ledger, Ledger),
}

/// The books of a selector at one moment.
pub(crate) struct AccountSnapshot {
    /// All lanes together, in the order they were made; the last one is the newest.
    pub(crate) spans: Ledger,
    pub(crate) events: Ledger,
    pub(crate) lanes: Vec<LaneSnapshot>,
}

impl Account {
    pub(crate) fn new(selector: Selector) -> Arc<Self> {
        Arc::new(Self {
            selector,
            state: Mutex::default(),
        })
    }

    pub(super) fn open(&self, lane: &Arc<Lane>) {
        self.lock().lanes.push(Arc::clone(lane));
    }

    /// Takes over the ledger of a lane where all is settled. Under the account's lock, so a snapshot sees it on one side only.
    pub(super) fn retire(&self, lane: &Lane) {
        let mut state = self.lock();
        let Some(at) = state.lanes.iter().position(|open| std::ptr::eq(open.as_ref(), lane)) else {
            return;
        };
        let lane = state.lanes.swap_remove(at);
        let snapshot = lane.snapshot();
        state.retired.0.add(&snapshot.spans);
        state.retired.1.add(&snapshot.events);
    }

    /// Makes everything that the selector's lanes hold due now.
    pub(crate) fn begin_flush(&self) -> AccountFlush {
        let state = self.lock();
        let (lanes, reported) = (state.lanes.clone(), state.reported);
        drop(state);
        let lanes = lanes.into_iter().map(|lane| {
            let mark = lane.begin_flush();
            (lane, mark)
        });
        AccountFlush {
            lanes: lanes.collect(),
            reported,
        }
    }

    /// Waits for a flush, up to the deadline; whether all of it is settled.
    pub(crate) fn settle(&self, flush: &AccountFlush, deadline: Instant) -> bool {
        let waited = flush.lanes.iter().map(|(lane, mark)| lane.await_flush(mark, deadline));
        // Every lane is asked, also after one that did not finish in time.
        waited.fold(true, |all, one| all && one)
    }

    /// All that happened since the report before the flush.
    pub(crate) fn report(&self, flush: &AccountFlush, complete: bool) -> TracerReport {
        let mut state = self.lock();
        let books = state.books();
        state.reported = (books.spans, books.events);
        drop(state);
        TracerReport::new(
            self.selector.clone(),
            &books.spans.since(&flush.reported.0),
            &books.events.since(&flush.reported.1),
            complete,
            books.lanes.into_iter().rev().find_map(|lane| lane.last_error),
        )
    }

    /// Closes all lanes: what is not settled is dropped and counted.
    pub(crate) fn abandon(&self) {
        // A clone: a lane that retires meanwhile takes the account's lock.
        let lanes = self.lock().lanes.clone();
        for lane in lanes {
            lane.abandon();
        }
    }

    pub(crate) fn snapshot(&self) -> AccountSnapshot {
        self.lock().books()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn books(&self) -> AccountSnapshot {
        let (mut spans, mut events) = self.retired;
        let lanes: Vec<LaneSnapshot> = self.lanes.iter().map(|lane| lane.snapshot()).collect();
        for lane in &lanes {
            spans.add(&lane.spans);
            events.add(&lane.events);
        }
        AccountSnapshot { spans, events, lanes }
    }
}
