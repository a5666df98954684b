//! One tracer's way out: its queue, its schedule, its ledger, its destination and its keyring.
//!
//! | schedule | event | next |
//! |---|---|---|
//! | idle | a span arrives | timed (ready, where one span is a full batch) |
//! | timed | the queue holds a batch or is full, a flush is asked for, the tracer is gone, or its place in the pool is needed | ready |
//! | timed | the delay is over, or memory is short | running |
//! | ready | the engine comes to it | running |
//! | running | all that was due is settled, some spans are left | timed |
//! | running | all that was due is settled, nothing is left | idle |
//! | any | abandoned at the end of a shutdown | closed |
//!
//! Everything that counts or changes is behind one mutex, held for a few instructions: a sender takes it to pull a batch out and to
//! settle one, never while it works.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Semaphore;

use super::state::{FlushMark, Pending, Schedule, State};
use super::sync::{Condvar, ForkLock, wait_timeout};
use crate::backend::{CUT_VALUES, Destination, cut_values};
use crate::context::Identity;
use crate::export::accounting::selector_ledger::SelectorLedger;
#[cfg(feature = "metrics")]
use crate::export::accounting::span_counters::SpanCounters;
#[cfg(feature = "tracing")]
use crate::export::engine::EngineMark;
use crate::export::engine::{EngineEvent, Shared};
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::net::connections::Connections;
use crate::export::queue::byte_size::byte_size;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::breaker_chain::LaneBreakers;
use crate::export::schedule::fair_semaphore::VirtualTime;
use crate::export::schedule::permits::Load;
use crate::export::schedule::shortage::Share;
use crate::export::send::deliver::Outcome;
use crate::faults::{self, Fault, planted};
use crate::ledger::DropReason;
use crate::secret::Fingerprint;
use crate::selector::Selector;

/// Batches of a lane that may be set aside at the same time, while it is looked for what the receiver fails on.
const MAX_ASIDE: usize = 4;

/// One tracer's way out.
pub(crate) struct Lane {
    pub(crate) selector: Selector,
    pub(crate) identity: Arc<Identity>,
    /// Shared with the lanes of others whose bindings say the same.
    pub(crate) destination: Arc<Destination>,
    pub(crate) key: Arc<RotatingKey>,
    pub(crate) gates: LaneBreakers,
    pub(crate) connections: Arc<Connections>,
    pub(super) shared: Arc<Shared>,
    pub(super) account: Weak<SelectorLedger>,
    #[cfg(feature = "metrics")]
    pub(super) starts: Arc<SpanCounters>,
    pub(super) state: ForkLock<State>,
    /// Spans that were started and have not ended; what sampling left out is not among them.
    pub(super) open_spans: AtomicU64,
    /// Rung whenever something was settled.
    pub(super) settled: Condvar,
    session_turns: OnceLock<Box<Semaphore>>,
    aside_turn: OnceLock<Box<Semaphore>>,
    /// What it has sent, beside others.
    pub(crate) clock: VirtualTime,
    /// What its receiver took, by [`Load`].
    pub(crate) shares: [Share; 2],
}

impl Lane {
    pub(crate) fn new(
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: Arc<RotatingKey>,
        shared: Arc<Shared>,
        account: &Arc<SelectorLedger>,
    ) -> Arc<Self> {
        Arc::new(Self {
            selector: account.selector.clone(),
            identity: Identity::new(&account.selector, &shared.boundary),
            gates: LaneBreakers::new(Arc::clone(&connections.breaker)),
            clock: VirtualTime::new(destination.weight),
            shares: [(); 2].map(|()| Share::new(destination.weight)),
            destination,
            key,
            connections,
            shared,
            session_turns: OnceLock::new(),
            aside_turn: OnceLock::new(),
            account: Arc::downgrade(account),
            #[cfg(feature = "metrics")]
            starts: Arc::clone(account.starts()),
            state: ForkLock::default(),
            open_spans: AtomicU64::new(0),
            settled: Condvar::new(),
        })
    }

    /// Whether it is one of that engine's.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_of(&self, engine: &EngineMark) -> bool {
        // The mark keeps the place of what it stands for.
        std::ptr::eq(engine.0.as_ptr(), Arc::as_ptr(&self.shared))
    }

    /// Takes a span that ended. Never waits; a span that cannot be kept is dropped and counted. What becomes of one in a fork is not counted:
    /// nobody sends it.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, mut span: SpanData) {
        let settings = &self.shared.settings;
        let mut weight = byte_size(&span);
        // In a fork, whatever is locked now may stay so.
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        if let Some(cut) = state.take_cut(span.span_context.span_id()) {
            span.attributes.extend(cut_values(CUT_VALUES, cut));
            weight = byte_size(&span);
        }
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.ledger.refuse(DropReason::AfterShutdown);
            return;
        }
        let full = state.spans.len() >= settings.max_queue_size;
        if full || !state.share.enqueue(weight, &self.shared.budget) {
            let reason = state.no_room(Load::Spans);
            state.ledger.refuse(reason);
            drop(state);
            self.log_refused_at_the_door(Load::Spans, reason);
            return;
        }
        if planted(Fault::SpanLost) && faults::now_and_then() {
            return;
        }
        if planted(Fault::SpanDoubled) && faults::now_and_then() {
            state.share.enqueue(weight, &self.shared.budget);
            state.place(weight, &self.shared.chunks).push(span.clone());
        }
        state.place(weight, &self.shared.chunks).push(span);
        self.note_queued(&mut state);
        let event = if state.spans.len() >= settings.full_batch() {
            state.make_full(settings.full_batch())
        } else {
            state.make_timed(settings.scheduled_delay)
        };
        self.note_due(&mut state);
        drop(state);
        if let Some(event) = event {
            self.shared.notify(event(self));
        }
        self.shared.look_at_memory();
    }

    /// A deadline that the lane rang for has come; false where something else came first.
    pub(crate) fn start_timed(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let timed = state.is_over(now);
        if timed {
            state.due = state.pushed();
            state.schedule = Schedule::Running;
            self.note_due(&mut state);
        }
        timed
    }

    /// The engine comes to a ready lane.
    pub(crate) fn start_ready(&self) -> bool {
        let mut state = self.state.lock();
        let ready = state.schedule == Schedule::Ready;
        if ready {
            state.schedule = Schedule::Running;
        }
        ready
    }

    /// Memory is short: a timed lane starts before its time. What it has in bytes, where it does.
    pub(crate) fn start_early(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.schedule != Schedule::Timed {
            return None;
        }
        state.due = state.pushed();
        state.schedule = Schedule::Running;
        self.note_due(&mut state);
        Some(state.spans.bytes())
    }

    /// Whether a running lane has something to send; where not, it is idle or timed again.
    pub(crate) fn is_due(self: &Arc<Self>) -> bool {
        let settings = &self.shared.settings;
        let mut state = self.state.lock();
        if state.schedule != Schedule::Running {
            return false;
        }
        state.note_full(settings.full_batch());
        self.note_due(&mut state);
        if state.spans.taken() < state.due {
            return true;
        }
        let empty = state.spans.is_empty();
        if empty {
            state.schedule = Schedule::Idle;
        } else {
            state.start_timer(settings.scheduled_delay);
        }
        drop(state);
        if empty {
            self.retire_if_done();
        } else {
            self.shared.notify(EngineEvent::timed(self));
        }
        false
    }

    /// The next batch of a lane that has one due; nothing where it was closed meanwhile.
    pub(crate) fn take_batch(&self) -> Batch {
        let max = self.shared.settings.max_export_batch_size;
        let mut state = self.state.lock();
        let batch = state.spans.take(max, &self.shared.chunks);
        let bytes = batch.bytes();
        state.ledger.take(batch.len() as u64);
        state.share.send(bytes);
        state.in_flight.take(batch.numbers(&(0..batch.len())), bytes);
        drop(state);
        batch
    }

    /// Whether a batch that was refused is to be sent in halves.
    pub(crate) fn may_divide(&self) -> bool {
        self.state.lock().halving.may_divide()
    }

    /// Requests of which spans were taken.
    pub(crate) fn taken_requests(&self) -> u64 {
        self.state.lock().halving.taken_requests()
    }

    /// Whether one more batch may be under way beside the one that is sent.
    pub(crate) fn has_room_aside(&self) -> bool {
        self.state.lock().in_flight.batches() <= MAX_ASIDE
    }

    /// The turn of a batch that was set aside: one after the other, as they came.
    pub(crate) fn aside_turn(&self) -> &Semaphore {
        self.aside_turn.get_or_init(|| Box::new(Semaphore::new(1)))
    }

    /// A batch was divided, and nothing of it was taken.
    pub(crate) fn note_barren(&self) {
        self.state.lock().halving.note_barren();
    }

    /// A batch or a part of one has its outcome, by the numbers of its spans.
    pub(crate) fn settle(&self, spans: Range<u64>, outcome: Outcome) {
        let count = spans.end - spans.start;
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed {
            // The ledger was closed with these spans in it, as dropped.
            return;
        }
        match outcome {
            Outcome::Delivered { rejected } => {
                state.ledger.deliver(count - rejected);
                state.ledger.drop_in_flight(rejected, DropReason::Rejected);
                state.last_delivery = Some(SystemTime::now());
                if rejected < count {
                    state.halving.note_taken();
                }
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => state.ledger.drop_in_flight(count, reason),
            // It has none yet.
            Outcome::Faulted => return,
        }
        let freed = state.in_flight.settle(&spans);
        state.share.settle(freed, &self.shared.budget);
        drop(state);
        // Before those who flush go on: what they wait for is in the log by then.
        self.log_outcome(Load::Spans, count, outcome);
        self.notify_completed();
    }

    /// Makes all that was accepted so far due now, and says how far to wait.
    pub(crate) fn begin_flush(self: &Arc<Self>) -> FlushMark {
        let mut state = self.state.lock();
        let mark = FlushMark {
            spans: state.pushed(),
            events: state.flush,
        };
        state.wake_retries();
        let event = state.make_due();
        self.note_due(&mut state);
        let pending = !state.is_drained();
        drop(state);
        self.gates.wake_retries();
        if let Some(event) = event {
            self.shared.notify(event(self));
        }
        if pending {
            self.shared.notify(EngineEvent::flush(self));
        }
        mark
    }

    /// Waits until all that was accepted before the mark is settled, or until the deadline.
    pub(crate) fn await_flush(&self, mark: &FlushMark, deadline: Instant) {
        let mut state = self.state.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.pending(mark) == Pending::default() || left.is_zero() {
                return;
            }
            (state, _) = wait_timeout(&self.settled, state, left);
        }
    }

    /// What was accepted before the mark and is not settled yet.
    pub(crate) fn pending(&self, mark: &FlushMark) -> Pending {
        self.state.lock().pending(mark)
    }

    /// The end of a shutdown: what is not settled is dropped and counted, what is still under way no longer counts.
    pub(crate) fn abandon(&self) {
        let left = self.state.lock().close(DropReason::Shutdown, &self.shared.budget);
        self.notify_completed();
        drop(left);
        self.retire_if_done();
    }

    /// The tracer and all its spans are gone: what is queued goes out now, then the account takes the ledger over.
    pub(crate) fn retire(self: &Arc<Self>) {
        if self.shared.is_forked() {
            return;
        }
        let mut state = self.state.lock();
        state.retiring = true;
        let event = state.make_due();
        self.note_due(&mut state);
        drop(state);
        match event {
            Some(event) => self.shared.notify(event(self)),
            None => self.retire_if_done(),
        }
    }

    pub(crate) fn retire_if_done(&self) {
        let state = self.state.lock();
        let done = state.retiring && state.is_drained();
        drop(state);
        if done && let Some(account) = self.account() {
            account.retire(self);
        }
    }

    /// What may be shown of its key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.shared.keys.fingerprint(&self.key.key().secret)
    }

    /// There is another key: requests that wait because the one before was refused go out now.
    pub(crate) fn take_new_key(&self) {
        self.gates.note_new_key();
        let mut state = self.state.lock();
        state.forget_refused_key();
        state.wake_retries();
    }

    /// How often those that wait for their repetition were hurried so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.state.lock().flush
    }

    /// Waits before a repetition; a flush ends the wait early, also one that was asked for since there were `flushes` of them.
    pub(crate) async fn wait_before_repeating(&self, wait: Duration, flushes: u64) {
        let wake_retries = {
            let mut state = self.state.lock();
            if state.flush != flushes {
                return;
            }
            // Made under the lock: from here on it hears every flush.
            Arc::clone(state.seldom().wake_retries.get_or_insert_default()).notified_owned()
        };
        let sleep = tokio::time::sleep(wait);
        // Either end of the wait is the same to the caller.
        futures_util::future::select(std::pin::pin!(sleep), std::pin::pin!(wake_retries)).await;
    }

    /// The books that it is in; `None` where their registry is gone.
    pub(crate) fn account(&self) -> Option<Arc<SelectorLedger>> {
        self.account.upgrade()
    }

    /// Session events that may be under way at the same time; spans go one batch after the other anyway.
    pub(crate) fn session_turns(&self) -> &Semaphore {
        // One tracer with thousands of sessions must not take all places where others are to be sent.
        let places = || Box::new(Semaphore::new((self.shared.settings.max_concurrent_exports / 4).max(1)));
        self.session_turns.get_or_init(places)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
