//! One tracer's way out: its queue, its schedule, its ledger, its destination and its key.
//!
//! | schedule | event | next |
//! |---|---|---|
//! | idle | a span arrives | timed (ready, where one span is a full batch) |
//! | timed | the queue holds a batch, or a flush is asked for | ready |
//! | timed | the delay is over | running |
//! | ready | the engine comes to it | running |
//! | running | all that was due is settled, some spans are left | timed |
//! | running | all that was due is settled, nothing is left | idle |
//! | any | abandoned at the end of a shutdown | closed |
//!
//! Everything that counts or changes is behind one mutex, held for a few instructions: a sender takes it to pull a batch out and to
//! settle one, never while it works.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Notify;

use super::ExportError;
use super::account::Account;
use super::deliver::Outcome;
use super::engine::{Ring, Shared};
use crate::backend::Destination;
use crate::ledger::{DropReason, Ledger};
use crate::secret::ApiKey;
use crate::selector::Selector;

/// One tracer's way out.
pub(crate) struct Lane {
    pub(crate) selector: Selector,
    pub(crate) destination: Destination,
    pub(super) key: ApiKey,
    shared: Arc<Shared>,
    account: Weak<Account>,
    state: Mutex<State>,
    /// Rung whenever something was settled.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    spans: VecDeque<SpanData>,
    schedule: Schedule,
    /// Spans that ever entered the queue, left it for a request, and were settled; each counts up in queue order.
    pushed: u64,
    taken: u64,
    settled: u64,
    /// Spans up to this number are to be sent without waiting for more.
    due: u64,
    ledger: Ledger,
    /// Session events, counted like spans.
    events: Ledger,
    /// Unsettled session events by the flush they were accepted before; flushes count up.
    unsettled_events: BTreeMap<u64, u64>,
    flush: u64,
    suspect: bool,
    last_error: Option<ExportError>,
    last_delivery: Option<SystemTime>,
    /// Wakes requests that wait for their repetition.
    hurry: Option<Arc<Notify>>,
    /// The tracer is gone: once all is settled the account takes the ledger over.
    retiring: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Schedule {
    #[default]
    Idle,
    Timed,
    Ready,
    Running,
    Closed,
}

/// How far a flush has to see things settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlushMark {
    spans: u64,
    events: u64,
}

/// What a lane says of itself.
pub(crate) struct LaneSnapshot {
    pub(crate) spans: Ledger,
    pub(crate) events: Ledger,
    pub(crate) last_error: Option<ExportError>,
    pub(crate) last_delivery: Option<SystemTime>,
}

impl Lane {
    pub(super) fn new(destination: Destination, key: ApiKey, shared: Arc<Shared>, account: &Arc<Account>) -> Arc<Self> {
        Arc::new(Self {
            selector: account.selector.clone(),
            destination,
            key,
            shared,
            account: Arc::downgrade(account),
            state: Mutex::default(),
            settled: Condvar::new(),
        })
    }

    /// Takes a span that ended. Never waits; a span that cannot be kept is dropped and counted.
    pub(super) fn push(self: &Arc<Self>, span: SpanData) {
        let settings = &self.shared.settings;
        let mut state = self.lock();
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.ledger.refuse(DropReason::AfterShutdown);
            return;
        }
        if state.spans.len() >= settings.max_queue_size {
            state.ledger.refuse(DropReason::QueueFull);
            return;
        }
        state.spans.push_back(span);
        state.pushed += 1;
        state.ledger.enqueue();
        let ring = if state.spans.len() >= settings.max_export_batch_size {
            state.make_ready()
        } else {
            state.make_timed()
        };
        drop(state);
        if let Some(ring) = ring {
            self.shared.ring(ring(self));
        }
    }

    /// The delay of a timed lane is over; false where something else came first.
    pub(super) fn start_timed(&self) -> bool {
        let mut state = self.lock();
        let timed = state.schedule == Schedule::Timed;
        if timed {
            state.due = state.pushed;
            state.schedule = Schedule::Running;
        }
        timed
    }

    /// The engine comes to a ready lane.
    pub(super) fn start_ready(&self) -> bool {
        let mut state = self.lock();
        let ready = state.schedule == Schedule::Ready;
        if ready {
            state.schedule = Schedule::Running;
        }
        ready
    }

    /// The next batch of a running lane; `None` where all that was due is out, and the lane is idle or timed again.
    pub(super) fn take_batch(self: &Arc<Self>) -> Option<Vec<SpanData>> {
        let max = self.shared.settings.max_export_batch_size;
        let mut state = self.lock();
        if state.schedule != Schedule::Running {
            return None;
        }
        if state.spans.len() >= max {
            state.due = state.pushed;
        }
        if state.taken < state.due && !state.spans.is_empty() {
            let batch: Vec<SpanData> = if state.spans.len() <= max {
                // The queue's memory goes with the batch: an idle lane has none.
                std::mem::take(&mut state.spans).into()
            } else {
                state.spans.drain(..max).collect()
            };
            let count = batch.len() as u64;
            state.taken += count;
            state.ledger.take(count);
            return Some(batch);
        }
        let empty = state.spans.is_empty();
        state.schedule = if empty { Schedule::Idle } else { Schedule::Timed };
        drop(state);
        if empty {
            self.retire_if_done();
        } else {
            self.shared.ring(Ring::timed(self));
        }
        None
    }

    /// A batch of `count` spans has its outcome.
    pub(super) fn settle(&self, count: u64, outcome: Outcome) {
        let mut state = self.lock();
        if state.schedule == Schedule::Closed {
            // The ledger was closed with these spans in it, as dropped.
            return;
        }
        match outcome {
            Outcome::Delivered { rejected } => {
                state.ledger.deliver(count - rejected);
                state.ledger.drop_in_flight(rejected, DropReason::Rejected);
                state.last_delivery = Some(SystemTime::now());
            }
            Outcome::Dropped(reason) => state.ledger.drop_in_flight(count, reason),
        }
        state.settled += count;
        drop(state);
        self.settled.notify_all();
    }

    /// Counts a session event in; the number to settle it by, or `None` where it is dropped and counted.
    pub(super) fn accept_event(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.events.refuse(DropReason::AfterShutdown);
            return None;
        }
        if state.events.queued() >= self.shared.settings.max_queue_size as u64 {
            state.events.refuse(DropReason::QueueFull);
            return None;
        }
        state.events.enqueue();
        let flush = state.flush;
        *state.unsettled_events.entry(flush).or_default() += 1;
        Some(flush)
    }

    /// Counts a session event that the backend has no place for.
    pub(super) fn refuse_event(&self) {
        self.lock().events.refuse(DropReason::Unsupported);
    }

    /// A session event goes out; false where the lane is closed.
    pub(super) fn take_event(&self) -> bool {
        let mut state = self.lock();
        let open = state.schedule != Schedule::Closed;
        if open {
            state.events.take(1);
        }
        open
    }

    /// A session event has its outcome.
    pub(super) fn settle_event(&self, flush: u64, outcome: Outcome) {
        let mut state = self.lock();
        if state.schedule == Schedule::Closed {
            return;
        }
        match outcome {
            Outcome::Delivered { .. } => {
                state.events.deliver(1);
                state.last_delivery = Some(SystemTime::now());
            }
            Outcome::Dropped(reason) => state.events.drop_in_flight(1, reason),
        }
        if let Some(left) = state.unsettled_events.get_mut(&flush) {
            *left -= 1;
            if *left == 0 {
                state.unsettled_events.remove(&flush);
            }
        }
        drop(state);
        self.settled.notify_all();
        self.retire_if_done();
    }

    /// Makes all that was accepted so far due now, and says how far to wait.
    pub(super) fn begin_flush(self: &Arc<Self>) -> FlushMark {
        let mut state = self.lock();
        let mark = FlushMark {
            spans: state.pushed,
            events: state.flush,
        };
        state.flush += 1;
        let ring = if state.pushed > state.taken {
            state.make_ready()
        } else {
            None
        };
        if let Some(hurry) = &state.hurry {
            hurry.notify_waiters();
        }
        drop(state);
        if let Some(ring) = ring {
            self.shared.ring(ring(self));
        }
        mark
    }

    /// Waits until all that was accepted before the mark is settled, or until the deadline; whether it is.
    pub(super) fn await_flush(&self, mark: &FlushMark, deadline: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.settled_up_to(mark) || left.is_zero() {
                return state.settled_up_to(mark);
            }
            state = self
                .settled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The end of a shutdown: what is not settled is dropped and counted, what is still under way no longer counts.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.schedule != Schedule::Closed {
            state.schedule = Schedule::Closed;
            state.ledger.abandon(DropReason::Shutdown);
            state.events.abandon(DropReason::Shutdown);
            state.spans = VecDeque::new();
            state.unsettled_events.clear();
        }
        drop(state);
        self.settled.notify_all();
    }

    /// The tracer and all its spans are gone: what is queued goes out now, then the account takes the ledger over.
    pub(super) fn retire(self: &Arc<Self>) {
        let mut state = self.lock();
        state.retiring = true;
        let ring = if state.pushed > state.taken {
            state.make_ready()
        } else {
            None
        };
        drop(state);
        match ring {
            Some(ring) => self.shared.ring(ring(self)),
            None => self.retire_if_done(),
        }
    }

    fn retire_if_done(&self) {
        let state = self.lock();
        let done = state.retiring && state.ledger.pending() == 0 && state.events.pending() == 0;
        drop(state);
        if done && let Some(account) = self.account.upgrade() {
            account.retire(self);
        }
    }

    pub(super) fn snapshot(&self) -> LaneSnapshot {
        let state = self.lock();
        LaneSnapshot {
            spans: state.ledger,
            events: state.events,
            last_error: state.last_error.clone(),
            last_delivery: state.last_delivery,
        }
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.lock().suspect
    }

    pub(super) fn note_success(&self, slow: bool, warning: Option<ExportError>) {
        let mut state = self.lock();
        state.suspect = slow;
        if warning.is_some() {
            state.last_error = warning;
        }
    }

    pub(super) fn note_failure(&self, error: ExportError) {
        let mut state = self.lock();
        state.suspect = true;
        state.last_error = Some(error);
    }

    /// Waits before a repetition; a flush ends the wait early where that is allowed.
    pub(super) async fn wait_before_repeating(&self, wait: Duration, may_hurry: bool) {
        let sleep = tokio::time::sleep(wait);
        if !may_hurry {
            return sleep.await;
        }
        let hurry = Arc::clone(self.lock().hurry.get_or_insert_default());
        // Either end of the wait is the same to the caller.
        futures_util::future::select(std::pin::pin!(sleep), std::pin::pin!(hurry.notified())).await;
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A panic while the lock was held can only come from the allocator; the numbers behind it are still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything in the queue is due now. Gives the bell to ring where the engine does not know of it yet.
    fn make_ready(&mut self) -> Option<fn(&Arc<Lane>) -> Ring> {
        self.due = self.pushed;
        match self.schedule {
            Schedule::Idle | Schedule::Timed => {
                self.schedule = Schedule::Ready;
                Some(Ring::ready)
            }
            Schedule::Ready | Schedule::Running | Schedule::Closed => None,
        }
    }

    /// A span waits for others from now on. Gives the bell to ring where the engine does not know of the lane yet.
    fn make_timed(&mut self) -> Option<fn(&Arc<Lane>) -> Ring> {
        let idle = self.schedule == Schedule::Idle;
        if idle {
            self.schedule = Schedule::Timed;
        }
        idle.then_some(Ring::timed)
    }

    fn settled_up_to(&self, mark: &FlushMark) -> bool {
        let closed = self.schedule == Schedule::Closed;
        let events = self
            .unsettled_events
            .first_key_value()
            .is_none_or(|(flush, _)| *flush > mark.events);
        closed || (self.settled >= mark.spans && events)
    }
}
