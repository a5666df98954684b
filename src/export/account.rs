//! All lanes that a selector ever had, and the ledgers of those that are gone: a name's ledger goes on across its tracers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::ExportError;
use super::breaker::Breakers;
use super::lane::{FlushMark, Lane, LaneSnapshot, Unsettled};
use super::report::TracerReport;
#[cfg(feature = "metrics")]
use super::starts::Starts;
use crate::ledger::Ledger;
use crate::selector::Selector;

/// The books of one selector.
pub(crate) struct Account {
    pub(crate) selector: Selector,
    state: Mutex<State>,
    #[cfg(feature = "metrics")]
    starts: Arc<Starts>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Open>,
    /// What is left of the lanes that are gone.
    retired: Retired,
}

struct Open {
    lane: Arc<Lane>,
    told: Told,
}

/// Where books stood when the last report of them was made: what happened since has not been told yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    spans: Ledger,
    events: Ledger,
}

#[derive(Default)]
struct Retired {
    spans: Ledger,
    events: Ledger,
    last_error: Option<ExportError>,
    last_delivery: Option<SystemTime>,
    told: Told,
}

/// A flush of all lanes of a selector.
pub(crate) struct AccountFlush {
    pub(super) lanes: Vec<(Arc<Lane>, FlushMark)>,
    before: Told,
}

/// The books of a selector at one moment.
pub(crate) struct AccountSnapshot {
    /// Of all lanes that ever were, together.
    pub(crate) spans: Ledger,
    /// What the spans and session events take that are queued and under way, estimated.
    pub(crate) held_bytes: usize,
    /// When the span ended that waits for the longest.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) events: Ledger,
    /// Lanes that are there.
    pub(crate) lanes: usize,
    /// Of the newest lane that has one; of the lanes that are gone where none has.
    pub(crate) last_error: Option<ExportError>,
    pub(crate) last_delivery: Option<SystemTime>,
    /// Of the newest lane.
    pub(crate) breakers: Breakers,
}

impl Account {
    pub(crate) fn new(selector: Selector) -> Arc<Self> {
        Arc::new(Self {
            selector,
            state: Mutex::default(),
            #[cfg(feature = "metrics")]
            starts: Arc::default(),
        })
    }

    pub(super) fn open(&self, lane: &Arc<Lane>) {
        self.lock().lanes.push(Open {
            lane: Arc::clone(lane),
            told: Told::default(),
        });
    }

    /// Takes over the ledger of a lane where all is settled. Under the account's lock, so a snapshot sees it on one side only.
    pub(super) fn retire(&self, lane: &Lane) {
        let mut state = self.lock();
        let Some(at) = state.position(lane) else { return };
        let Open { lane, told } = state.lanes.remove(at);
        let snapshot = lane.snapshot();
        let retired = &mut state.retired;
        retired.spans.add(&snapshot.spans);
        retired.events.add(&snapshot.events);
        retired.told.add(&told);
        retired.last_error = snapshot.last_error.or(retired.last_error.take());
        retired.last_delivery = retired.last_delivery.max(snapshot.last_delivery);
    }

    /// Makes everything that the selector's lanes hold due now.
    pub(crate) fn begin_flush(&self) -> AccountFlush {
        let state = self.lock();
        let (lanes, before) = (state.lanes(), state.told());
        drop(state);
        let lanes = lanes.into_iter().map(|lane| {
            let mark = lane.begin_flush();
            (lane, mark)
        });
        AccountFlush {
            lanes: lanes.collect(),
            before,
        }
    }

    /// All that happened since the report before the flush, and what of the flush is not settled yet.
    pub(crate) fn report(&self, flush: &AccountFlush) -> TracerReport {
        // Before the books are read: what is settled in between is told twice, as pending and as what became of it, rather than not at all.
        let mut pending = Unsettled::default();
        for (lane, mark) in &flush.lanes {
            let unsettled = lane.unsettled(mark);
            pending.spans += unsettled.spans;
            pending.events += unsettled.events;
        }
        let mut state = self.lock();
        let snapshots = state.snapshots();
        let books = state.books(&snapshots);
        state.tell(&snapshots);
        drop(state);
        TracerReport::new(
            self.selector.clone(),
            &books.spans.since(&flush.before.spans),
            &books.events.since(&flush.before.events),
            pending,
            books.last_error,
        )
    }

    /// Where the books of one lane stood when it was last told of.
    pub(super) fn told_of(&self, lane: &Lane) -> Told {
        let state = self.lock();
        state.position(lane).map(|at| state.lanes[at].told).unwrap_or_default()
    }

    /// All that happened to one lane since it was told of before a flush of it, and what of the flush is not settled yet.
    pub(super) fn report_lane(&self, lane: &Lane, mark: &FlushMark, before: &Told) -> TracerReport {
        // First, as above.
        let pending = lane.unsettled(mark);
        let mut state = self.lock();
        let books = lane.snapshot();
        if let Some(at) = state.position(lane) {
            state.lanes[at].told = Told::all_of(&books);
        }
        drop(state);
        TracerReport::new(
            self.selector.clone(),
            &books.spans.since(&before.spans),
            &books.events.since(&before.events),
            pending,
            books.last_error,
        )
    }

    /// Closes all lanes: what is not settled is dropped and counted.
    pub(crate) fn abandon(&self) {
        // A clone: a lane that retires meanwhile takes the account's lock.
        let lanes = self.lock().lanes();
        for lane in lanes {
            lane.abandon();
        }
    }

    pub(crate) fn snapshot(&self) -> AccountSnapshot {
        let state = self.lock();
        state.books(&state.snapshots())
    }

    /// Of all lanes that ever were, together.
    #[cfg(feature = "metrics")]
    pub(crate) fn starts(&self) -> &Arc<Starts> {
        &self.starts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn all_of(books: &LaneSnapshot) -> Self {
        Self {
            spans: books.spans,
            events: books.events,
        }
    }

    fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.events.add(&other.events);
    }
}

impl State {
    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.iter().map(|open| Arc::clone(&open.lane)).collect()
    }

    fn position(&self, lane: &Lane) -> Option<usize> {
        self.lanes
            .iter()
            .position(|open| std::ptr::eq(open.lane.as_ref(), lane))
    }

    /// What was told of all lanes that ever were, together.
    fn told(&self) -> Told {
        let mut told = self.retired.told;
        self.lanes.iter().for_each(|open| told.add(&open.told));
        told
    }

    /// All that is in the books is told now.
    fn tell(&mut self, snapshots: &[LaneSnapshot]) {
        self.retired.told = Told {
            spans: self.retired.spans,
            events: self.retired.events,
        };
        for (open, books) in self.lanes.iter_mut().zip(snapshots) {
            open.told = Told::all_of(books);
        }
    }

    fn snapshots(&self) -> Vec<LaneSnapshot> {
        self.lanes.iter().map(|open| open.lane.snapshot()).collect()
    }

    fn books(&self, snapshots: &[LaneSnapshot]) -> AccountSnapshot {
        let mut books = AccountSnapshot {
            spans: self.retired.spans,
            held_bytes: 0,
            oldest: None,
            events: self.retired.events,
            lanes: self.lanes.len(),
            last_error: None,
            last_delivery: self.retired.last_delivery,
            breakers: Breakers::default(),
        };
        for lane in snapshots {
            books.spans.add(&lane.spans);
            books.held_bytes += lane.held_bytes;
            books.oldest = books.oldest.into_iter().chain(lane.oldest).min();
            books.events.add(&lane.events);
            books.last_error = lane.last_error.clone().or(books.last_error.take());
            books.last_delivery = books.last_delivery.max(lane.last_delivery);
            books.breakers = lane.breakers;
        }
        books.last_error = books.last_error.or_else(|| self.retired.last_error.clone());
        books
    }
}
