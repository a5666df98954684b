//! What a lane's mutex guards: queue, schedule, counters. A move of the schedule that the engine has to know returns its event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Notify;

use super::failures::LastFailures;
use super::in_flight::InFlight;
use super::key_refusals::KeyRefusals;
use super::outage::Outage;
use super::requests::Requests;
use super::standing::Standings;
use crate::export::accounting::counted_lane::{Failures, FlushMark, Pending};
use crate::export::accounting::lane_status::{RefusedSpan, RequestKind, RequestStatus};
use crate::export::queue::budget::{Budget, Share};
use crate::export::queue::span_queue::{Chunks, Queue};
use crate::export::schedule::breaker_status::BreakerStatus;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane};
use crate::export::send::parts::Halving;
use crate::ledger::{DropReason, Ledger};

/// Makes the event that tells the engine of a move of the schedule.
pub(crate) type Event = fn(Arc<dyn ScheduledLane>) -> EngineEvent;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) spans: Queue,
    /// What the spans and session events take that are queued and under way.
    pub(crate) share: Share,
    pub(crate) schedule: Schedule,
    /// When a timed lane is due.
    pub(crate) timed_until: Option<Instant>,
    pub(crate) in_flight: InFlight,
    /// Spans up to this number are to be sent without waiting for more; they are counted in the order of the queue.
    pub(crate) due: u64,
    pub(crate) ledger: Ledger,
    pub(crate) flush: u64,
    pub(crate) halving: Halving,
    pub(crate) suspect: bool,
    pub(crate) standings: Standings,
    /// None while no request is under way.
    pub(crate) requests: Option<Box<Requests>>,
    pub(crate) last_delivery: Option<SystemTime>,
    /// The tracer is gone: once nothing is pending, its selector's ledger takes its numbers over.
    pub(crate) retiring: bool,
    events: Option<Box<Events>>,
    pub(crate) seldom: Option<Box<Seldom>>,
}

/// What only lanes have that were told of sessions.
#[derive(Default)]
pub(crate) struct Events {
    /// Session events, counted like spans.
    pub(crate) ledger: Ledger,
    /// Unsettled ones by the flush they were accepted before; flushes count up.
    pub(crate) pending: BTreeMap<u64, u64>,
    /// Since when the receiver of session events fails.
    pub(crate) failing_since: Option<Instant>,
}

/// What most lanes never have.
#[derive(Default)]
pub(crate) struct Seldom {
    /// How many values were cut from spans that are open, where any were.
    pub(crate) cut_values: HashMap<SpanId, u64>,
    pub(crate) failures: LastFailures,
    pub(crate) refused_span: Option<Box<RefusedSpan>>,
    /// Where the receiver refuses the key.
    pub(crate) key_refusals: KeyRefusals,
    /// While the receiver of spans fails.
    pub(crate) outage: Option<Outage>,
    /// Wakes requests that wait for their repetition.
    pub(crate) wake_retries: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Schedule {
    #[default]
    Idle,
    Timed,
    Ready,
    Running,
    Closed,
}

impl State {
    pub(crate) fn events(&mut self) -> &mut Events {
        self.events.get_or_insert_default()
    }

    pub(crate) fn events_ledger(&self) -> Ledger {
        self.events.as_ref().map(|events| events.ledger).unwrap_or_default()
    }

    /// To put something there.
    pub(crate) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    pub(crate) fn failures(&self) -> Option<&Failures> {
        self.seldom.as_ref()?.failures.to_show()
    }

    pub(crate) fn refused_span(&self) -> Option<&RefusedSpan> {
        self.seldom.as_ref()?.refused_span.as_deref()
    }

    pub(crate) fn key_refusals(&self) -> KeyRefusals {
        self.seldom
            .as_ref()
            .map(|seldom| seldom.key_refusals)
            .unwrap_or_default()
    }

    /// The request that is under way for the longest; one whose outcome is in the ledger is not.
    pub(crate) fn oldest_request(&self, breakers: impl Fn(RequestKind) -> [BreakerStatus; 2]) -> Option<RequestStatus> {
        let is_pending = |kind| match kind {
            RequestKind::Spans => self.ledger.pending() > 0,
            RequestKind::SessionEvents => self.events_ledger().pending() > 0,
        };
        self.requests.as_ref()?.oldest(is_pending, breakers)
    }

    pub(crate) fn outage(&mut self) -> Option<&mut Outage> {
        self.seldom.as_mut()?.outage.as_mut()
    }

    /// A request was taken, or refused for good: the receiver is at work.
    pub(crate) fn end_outage(&mut self, kind: RequestKind) {
        match kind {
            RequestKind::Spans => self.seldom.iter_mut().for_each(|seldom| seldom.outage = None),
            RequestKind::SessionEvents => self.events.iter_mut().for_each(|events| events.failing_since = None),
        }
    }

    /// What was cut from a span that ends.
    pub(crate) fn take_cut(&mut self, span: SpanId) -> Option<u64> {
        let cut_values = &mut self.seldom.as_mut()?.cut_values;
        // Most of the time there is none: then nothing is hashed.
        if cut_values.is_empty() {
            None
        } else {
            cut_values.remove(&span)
        }
    }

    /// Begins to send, if the schedule allows it for this cause. Then all that is in the queue is due; in a ready lane, what was due already.
    pub(crate) fn start(&mut self, cause: Cause) -> bool {
        let starts = match cause {
            Cause::Ready => self.schedule == Schedule::Ready,
            Cause::Deadline(now) => self.is_over(now),
            Cause::Memory => self.schedule == Schedule::Timed,
        };
        if starts {
            if cause != Cause::Ready {
                self.due = self.pushed();
            }
            self.schedule = Schedule::Running;
        }
        starts
    }

    /// Wakes requests that wait for their repetition.
    pub(crate) fn wake_retries(&mut self) {
        self.flush += 1;
        if let Some(wake_retries) = self.seldom.as_ref().and_then(|seldom| seldom.wake_retries.as_ref()) {
            wake_retries.notify_waiters();
        }
    }

    /// How many spans ever entered the queue.
    pub(crate) fn pushed(&self) -> u64 {
        self.spans.taken() + self.spans.len() as u64
    }

    /// The place of one more span, which is counted already.
    #[inline]
    pub(crate) fn place(&mut self, bytes: usize, chunks: &Chunks) -> &mut Vec<SpanData> {
        self.ledger.enqueue();
        self.spans.room(bytes, chunks)
    }

    /// Full batches are due; what is left over waits for more.
    pub(crate) fn note_full(&mut self, full_batch: usize) {
        let whole = self.spans.len() - self.spans.len() % full_batch;
        self.due = self.due.max(self.spans.taken() + whole as u64);
    }

    /// There is a full batch. Returns the event if the engine does not know of it yet.
    pub(crate) fn make_full(&mut self, full_batch: usize) -> Option<Event> {
        let news = matches!(self.schedule, Schedule::Idle | Schedule::Timed);
        if news {
            self.note_full(full_batch);
            self.schedule = Schedule::Ready;
        }
        news.then_some(EngineEvent::Ready)
    }

    /// Everything in the queue is due now. Returns the event if the engine does not know of it yet.
    fn make_ready(&mut self) -> Option<Event> {
        self.due = self.pushed();
        match self.schedule {
            Schedule::Idle | Schedule::Timed => {
                self.schedule = Schedule::Ready;
                Some(EngineEvent::Ready)
            }
            Schedule::Ready | Schedule::Running | Schedule::Closed => None,
        }
    }

    /// What is in the queue, if anything, is due now.
    pub(crate) fn make_due(&mut self) -> Option<Event> {
        if self.spans.is_empty() { None } else { self.make_ready() }
    }

    /// A span waits for others from now on. Returns the event if the engine does not know of the lane yet.
    pub(crate) fn make_timed(&mut self, delay: Duration) -> Option<Event> {
        let idle = self.schedule == Schedule::Idle;
        if idle {
            self.start_timer(delay);
        }
        idle.then_some(EngineEvent::Timed)
    }

    /// The lane is timed from now on.
    pub(crate) fn start_timer(&mut self, delay: Duration) {
        self.schedule = Schedule::Timed;
        self.timed_until = Instant::now().checked_add(delay);
    }

    /// Whether the lane is timed, and its time is over. The engine may still hold a deadline of an earlier time, which does not count.
    fn is_over(&self, now: Instant) -> bool {
        self.schedule == Schedule::Timed && self.timed_until.is_some_and(|until| until <= now)
    }

    /// Closes the lane: what has no outcome is dropped. Returns the queue, to be freed outside the lock.
    pub(crate) fn close(&mut self, reason: DropReason, budget: &Budget) -> Queue {
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
    pub(crate) fn pending(&self, mark: &FlushMark) -> Pending {
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

    pub(crate) fn is_drained(&self) -> bool {
        self.ledger.pending() == 0 && self.events_ledger().pending() == 0
    }
}
