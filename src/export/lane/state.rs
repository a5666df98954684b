//! What a lane's mutex guards: queue, schedule, counters. Every move of the schedule that needs a bell says which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Notify;

use super::Lane;
use super::errors::LastFailures;
use super::in_flight::InFlight;
use super::outage::Outage;
use super::refusals::{Refusal, Refusals};
use super::requests::Requests;
use super::standing::Standings;
use crate::export::accounting::lane_status::RefusedSpan;
use crate::export::engine::EngineEvent;
use crate::export::queue::budget::{Budget, Share};
use crate::export::queue::span_queue::{Chunks, Queue};
use crate::export::schedule::permits::Load;
use crate::export::send::batch::Halving;
use crate::ledger::{DropReason, Ledger};

#[derive(Default)]
pub(super) struct State {
    pub(super) spans: Queue,
    /// What the spans and session events take that are queued and under way.
    pub(super) share: Share,
    pub(super) schedule: Schedule,
    /// When a timed lane is due.
    pub(super) timed_until: Option<Instant>,
    pub(super) in_flight: InFlight,
    /// Spans up to this number are to be sent without waiting for more; they are counted in the order of the queue.
    pub(super) due: u64,
    pub(super) ledger: Ledger,
    pub(super) flush: u64,
    pub(super) halving: Halving,
    pub(super) suspect: bool,
    pub(super) standings: Standings,
    /// None while no request is under way.
    pub(super) requests: Option<Box<Requests>>,
    pub(super) last_delivery: Option<SystemTime>,
    /// The tracer is gone: once all is settled the account takes the ledger over.
    pub(super) retiring: bool,
    events: Option<Box<Events>>,
    pub(super) seldom: Option<Box<Seldom>>,
}

/// What only lanes have that were told of sessions.
#[derive(Default)]
pub(super) struct Events {
    /// Session events, counted like spans.
    pub(super) ledger: Ledger,
    /// Unsettled ones by the flush they were accepted before; flushes count up.
    pub(super) pending: BTreeMap<u64, u64>,
    /// Since when the receiver of session events fails.
    pub(super) failing_since: Option<Instant>,
}

/// What most lanes never have.
#[derive(Default)]
pub(super) struct Seldom {
    /// How many values were cut from spans that are open, where any were.
    pub(super) cut_values: HashMap<SpanId, u64>,
    pub(super) failures: LastFailures,
    pub(super) refused_span: Option<Box<RefusedSpan>>,
    /// Where the receiver refuses the key.
    pub(super) refusals: Refusals,
    /// While the receiver of spans fails.
    pub(super) outage: Option<Outage>,
    /// Wakes requests that wait for their repetition.
    pub(super) wake_retries: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Schedule {
    #[default]
    Idle,
    Timed,
    Ready,
    Running,
    Closed,
}

/// How far a flush has to see things settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    pub(super) spans: u64,
    pub(super) events: u64,
}

/// Spans and session events that are not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) spans: u64,
    pub(crate) events: u64,
}

impl State {
    pub(super) fn events(&mut self) -> &mut Events {
        self.events.get_or_insert_default()
    }

    pub(super) fn events_ledger(&self) -> Ledger {
        self.events.as_ref().map(|events| events.ledger).unwrap_or_default()
    }

    /// To put something there.
    pub(super) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    pub(super) fn refused_span(&self) -> Option<&RefusedSpan> {
        self.seldom.as_ref()?.refused_span.as_deref()
    }

    pub(super) fn refusals(&self) -> Refusals {
        self.seldom.as_ref().map(|seldom| seldom.refusals).unwrap_or_default()
    }

    /// The refusal of the key for what is sent in this way.
    pub(super) fn refusal_mut(&mut self, load: Load) -> Option<&mut Refusal> {
        self.seldom.as_mut()?.refusals[load as usize].as_mut()
    }

    pub(super) fn outage(&mut self) -> Option<&mut Outage> {
        self.seldom.as_mut()?.outage.as_mut()
    }

    /// A request was taken, or refused for good: the receiver is at work.
    pub(super) fn end_outage(&mut self, load: Load) {
        match load {
            Load::Spans => self.seldom.iter_mut().for_each(|seldom| seldom.outage = None),
            Load::SessionEvent => self.events.iter_mut().for_each(|events| events.failing_since = None),
        }
    }

    /// What was cut from a span that ends.
    pub(super) fn take_cut(&mut self, span: SpanId) -> Option<u64> {
        let cut_values = &mut self.seldom.as_mut()?.cut_values;
        // Most of the time there is none: then nothing is hashed.
        if cut_values.is_empty() {
            None
        } else {
            cut_values.remove(&span)
        }
    }

    /// Wakes requests that wait for their repetition.
    pub(super) fn wake_retries(&mut self) {
        self.flush += 1;
        if let Some(wake_retries) = self.seldom.as_ref().and_then(|seldom| seldom.wake_retries.as_ref()) {
            wake_retries.notify_waiters();
        }
    }

    /// How many spans ever entered the queue.
    pub(super) fn pushed(&self) -> u64 {
        self.spans.taken() + self.spans.len() as u64
    }

    /// The place of one more span, which is counted already.
    #[inline]
    pub(super) fn place(&mut self, bytes: usize, chunks: &Chunks) -> &mut Vec<SpanData> {
        self.ledger.enqueue();
        self.spans.room(bytes, chunks)
    }

    /// Full batches are due; what is left over waits for more.
    pub(super) fn note_full(&mut self, full_batch: usize) {
        let whole = self.spans.len() - self.spans.len() % full_batch;
        self.due = self.due.max(self.spans.taken() + whole as u64);
    }

    /// There is a full batch. Gives the bell to ring where the engine does not know of it yet.
    pub(super) fn make_full(&mut self, full_batch: usize) -> Option<fn(&Arc<Lane>) -> EngineEvent> {
        let news = matches!(self.schedule, Schedule::Idle | Schedule::Timed);
        if news {
            self.note_full(full_batch);
            self.schedule = Schedule::Ready;
        }
        news.then_some(EngineEvent::ready)
    }

    /// Everything in the queue is due now. Gives the bell to ring where the engine does not know of it yet.
    pub(super) fn make_ready(&mut self) -> Option<fn(&Arc<Lane>) -> EngineEvent> {
        self.due = self.pushed();
        match self.schedule {
            Schedule::Idle | Schedule::Timed => {
                self.schedule = Schedule::Ready;
                Some(EngineEvent::ready)
            }
            Schedule::Ready | Schedule::Running | Schedule::Closed => None,
        }
    }

    /// What is in the queue, if anything, is due now.
    pub(super) fn make_due(&mut self) -> Option<fn(&Arc<Lane>) -> EngineEvent> {
        if self.spans.is_empty() { None } else { self.make_ready() }
    }

    /// A span waits for others from now on. Gives the bell to ring where the engine does not know of the lane yet.
    pub(super) fn make_timed(&mut self, delay: Duration) -> Option<fn(&Arc<Lane>) -> EngineEvent> {
        let idle = self.schedule == Schedule::Idle;
        if idle {
            self.start_timer(delay);
        }
        idle.then_some(EngineEvent::timed)
    }

    /// The lane is timed from now on.
    pub(super) fn start_timer(&mut self, delay: Duration) {
        self.schedule = Schedule::Timed;
        self.timed_until = Instant::now().checked_add(delay);
    }

    /// Whether the lane is timed, and its time is over. The engine may still hold a deadline of an earlier time, which does not count.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.schedule == Schedule::Timed && self.timed_until.is_some_and(|until| until <= now)
    }

    /// Closes the books: what is not settled is dropped. Gives the queue, to be freed outside the lock.
    pub(super) fn close(&mut self, reason: DropReason, budget: &Budget) -> Queue {
        if self.schedule != Schedule::Closed {
            self.share.close(budget);
            self.schedule = Schedule::Closed;
            self.ledger.abandon(reason);
            self.in_flight = InFlight::default();
            if let Some(events) = &mut self.events {
                events.ledger.abandon(reason);
                events.pending.clear();
            }
        }
        std::mem::take(&mut self.spans)
    }

    /// What was accepted before a flush and is not settled yet.
    pub(super) fn pending(&self, mark: &FlushMark) -> Pending {
        if self.schedule == Schedule::Closed {
            return Pending::default();
        }
        let before_the_flush = self
            .events
            .iter()
            .flat_map(|events| events.pending.range(..=mark.events));
        Pending {
            spans: mark.spans.saturating_sub(self.spans.taken()) + self.in_flight.before(mark.spans),
            events: before_the_flush.map(|(_, count)| count).sum(),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.ledger.pending() == 0 && self.events_ledger().pending() == 0
    }
}
