//! Ordered queue of one session's events: a request is sent after the previous one has its outcome.
//! All handles of a lane with the same session id share one queue.
//!
//! A start is sent alone. Consecutive enrichments share a request if merging them loses nothing
//! ([`MergedEnrichment`]). Each remains an event of its own: it is counted individually and, if the
//! merged request is refused, sent individually.
//!
//! Clients of the gateway also post single events of a session. Until such an event is sent,
//! enrichments with its id follow it in the session's queue.

#[cfg(feature = "spool")]
mod saved;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use http::Method;
use serde_json::{Map, Value};
#[cfg(feature = "spool")]
use tokio::sync::oneshot;
#[cfg(feature = "spool")]
use tracer_registry_spool::AppendError;
use uuid::Uuid;

use super::deliver::{OnFault, Sending, deliver, run_request};
use super::outcome::Outcome;
use crate::backend::MergedEnrichment;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::encode::body;
use crate::export::error::ExportError;
use crate::export::explain::counts::TraceCounts;
use crate::export::lane::Lane;
use crate::export::lane::events::Ticket;
use crate::export::net::exchange::{Call, CallKind};
use crate::export::queue::session_event::SessionEvent;
#[cfg(feature = "redact")]
use crate::export::redact;
use crate::export::schedule::engine_event::{EngineEvent, SessionSender};
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;

/// The pending events of one session.
pub(crate) struct SessionQueue {
    lane: Arc<Lane>,
    session: Uuid,
    /// For the id of a single event, the queue of its session, which takes the events of this one
    /// too.
    within: Weak<Self>,
    /// Held while an event is appended, so that events are saved in sending order. Before the lock
    /// of the state, which the answer of the store takes.
    #[cfg(feature = "spool")]
    appending: ForkLock<()>,
    state: ForkLock<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<QueuedEvent>,
    /// Whether a task sends the events.
    running: bool,
    /// Whether the task must leave them on disk only, once the current request has an outcome.
    #[cfg(feature = "spool")]
    leaving: bool,
}

struct QueuedEvent {
    content: Content,
    /// The lane's receipt, to complete the event.
    ticket: Ticket,
    /// Queue of the event's own id, which must lead here until the event is sent.
    #[cfg_attr(not(feature = "spool"), expect(dead_code, reason = "kept alive"))]
    by_id: Option<Arc<SessionQueue>>,
}

/// The event, which the rules of redaction are applied to before it is encoded.
struct Content {
    event: SessionEvent,
    /// Whether they were applied.
    #[cfg(feature = "redact")]
    is_redacted: bool,
}

#[cfg(feature = "spool")]
/// Whether events were left on disk only.
enum Leaving {
    /// Nothing is left in memory. The task must end.
    Left,
    /// They could not be saved now, and have to be sent again.
    Again,
    /// They cannot be saved, and have this outcome.
    Dropped(Outcome),
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Program,
    #[cfg(feature = "encoded")]
    Client,
}

/// Where an accepted event is.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// Queued.
    Now,
    /// On its way to disk. It is accepted once this answers.
    #[cfg(feature = "spool")]
    OnceSaved(oneshot::Receiver<Result<(), AppendError>>),
}

impl SessionQueue {
    /// Memory of a queue and the task that sends its events.
    #[cfg(feature = "encoded")]
    pub(crate) const SENDER_BYTES: usize = 10 << 10;

    /// Returns the queue of a session: that of its other handles or unsent events, or else a new
    /// one.
    pub(crate) fn of(lane: &Arc<Lane>, session: Uuid) -> Arc<Self> {
        Self::live_or_new(lane, session, &Weak::new())
    }

    fn live_or_new(lane: &Arc<Lane>, session: Uuid, within: &Weak<Self>) -> Arc<Self> {
        lane.session_queue(session, || {
            Arc::new(Self {
                lane: Arc::clone(lane),
                session,
                within: Weak::clone(within),
                #[cfg(feature = "spool")]
                appending: ForkLock::default(),
                state: ForkLock::default(),
            })
        })
    }

    /// Queues an event. Never blocks. An event that does not fit is dropped and counted. In a
    /// forked child, events are discarded.
    pub(crate) fn push(self: &Arc<Self>, event: SessionEvent) {
        // After a fork, a lock held by another thread is never released.
        if self.lane.shared().is_forked() {
            return;
        }
        if let Err(reason) = self.push_counting(event, Source::Program) {
            self.lane.drop_event(reason);
        }
    }

    /// Queues an event of a client. Never blocks. Counts [`SENDER_BYTES`](Self::SENDER_BYTES) beside
    /// the event if the queue was idle: clients may start any number of sessions. Call only in the
    /// process that created the lane.
    ///
    /// # Errors
    /// Returns the reason why it does not fit. Nothing is counted.
    #[cfg(feature = "encoded")]
    pub(crate) fn try_push(self: &Arc<Self>, event: SessionEvent) -> Result<Pushed, DropReason> {
        self.push_counting(event, Source::Client)
    }

    /// Queues a single event behind the events of its session, as [`try_push`](Self::try_push)
    /// does. If enrichments of the event wait already, they stay in front of it.
    #[cfg(feature = "encoded")]
    pub(crate) fn try_push_single(
        lane: &Arc<Lane>,
        id: Uuid,
        session: Uuid,
        event: SessionEvent,
    ) -> Result<Pushed, DropReason> {
        let session = Self::of(lane, session);
        let session = session.within.upgrade().unwrap_or(session);
        let by_id = (id != session.session).then(|| Self::live_or_new(lane, id, &Arc::downgrade(&session)));
        session.enqueue(event, Source::Client, by_id)
    }

    fn push_counting(self: &Arc<Self>, event: SessionEvent, source: Source) -> Result<Pushed, DropReason> {
        match self.within.upgrade() {
            Some(session) => session.enqueue(event, source, Some(Arc::clone(self))),
            None => self.enqueue(event, source, None),
        }
    }

    fn enqueue(
        self: &Arc<Self>,
        event: SessionEvent,
        source: Source,
        by_id: Option<Arc<Self>>,
    ) -> Result<Pushed, DropReason> {
        #[cfg_attr(not(feature = "spool"), expect(unused_mut, reason = "redacted when it is sent"))]
        let mut content = Content::new(event, source);
        #[cfg(feature = "spool")]
        if self.lane.policies.redacts() && self.lane.saves_events() {
            // Its row is written in this thread. Before the lock, which others wait for.
            content.redact(&self.lane);
        }
        #[cfg(feature = "spool")]
        let _in_order = self.lane.uses_spool().then(|| self.appending.lock());
        // Count and queue under one lock, so that events are counted in sending order.
        let mut state = self.state.lock();
        let sender_bytes = match source {
            #[cfg(feature = "encoded")]
            Source::Client if !state.running => Self::SENDER_BYTES,
            _ => 0,
        };
        let bytes = content.event.byte_size() + sender_bytes;
        #[cfg(feature = "spool")]
        if self.lane.uses_spool() {
            return self.enqueue_spooled(state, content, bytes, source, by_id);
        }
        let ticket = self.lane.accept_event(bytes)?;
        let idle = state.push(QueuedEvent { content, ticket, by_id });
        drop(state);
        if idle {
            self.start(ticket);
        }
        Ok(Pushed::Now)
    }

    /// Notifies the engine after the first event was queued.
    fn start(self: &Arc<Self>, ticket: Ticket) {
        let shared = self.lane.shared();
        shared.notify(EngineEvent::Session(Arc::clone(self) as _));
        // A flush between counting and notifying waits for this event, but the engine handled it
        // before. Notify again.
        if ticket.is_before_flush(self.lane.flushes()) {
            shared.notify(EngineEvent::Flush(Arc::clone(&self.lane) as _));
        }
    }

    /// Sends requests until no event is left.
    async fn run(self: &Arc<Self>) {
        self.lane.shared().permits.wake(&self.lane.virtual_time);
        while let Some(events) = self.next() {
            if !self.lane.take_events(events.len()) || !self.finish(events).await {
                return;
            }
        }
    }

    /// Sends events until each has an outcome. Returns false if the task must end.
    async fn finish(self: &Arc<Self>, mut events: Vec<QueuedEvent>) -> bool {
        let mut is_alone = false;
        while !events.is_empty() {
            if is_alone && self.lane.is_closed() {
                return false;
            }
            let count = if is_alone { 1 } else { events.len() };
            #[cfg(feature = "spool")]
            let outcome = if self.may_send().await {
                self.send(&events[..count]).await
            } else {
                Outcome::HandedOver
            };
            #[cfg(not(feature = "spool"))]
            let outcome = self.send(&events[..count]).await;
            match outcome {
                // One bad event must not cost the others: send each alone.
                Outcome::Refused(_) | Outcome::Dropped(DropReason::Encoding) if count > 1 => is_alone = true,
                #[cfg(feature = "spool")]
                outcome if self.leaves(outcome) => match self.leave(&mut events, outcome).await {
                    Leaving::Left => return false,
                    Leaving::Again => {}
                    Leaving::Dropped(outcome) => self.give_up(std::mem::take(&mut events), outcome),
                },
                outcome if outcome.is_expired() && !is_alone => self.give_up(std::mem::take(&mut events), outcome),
                outcome => self.complete(&events.drain(..count).collect::<Vec<_>>(), outcome),
            }
        }
        true
    }

    /// Drops the events of an expired request, and all queued events that have expired too.
    fn give_up(&self, mut events: Vec<QueuedEvent>, outcome: Outcome) {
        let max_elapsed = self.lane.shared().settings.retry.max_elapsed;
        if outcome.is_expired()
            && let Some(moment) = self.lane.expired_events_cutoff(max_elapsed)
        {
            let mut state = self.state.lock();
            // Events are in order of acceptance.
            let is_old = |waiting: &QueuedEvent| waiting.ticket.was_accepted_by(moment);
            let count = state.waiting.partition_point(is_old);
            let old: Vec<_> = state.waiting.drain(..count).collect();
            drop(state);
            if !self.lane.take_events(old.len()) {
                return;
            }
            events.extend(old);
        }
        self.complete(&events, outcome);
    }

    /// Takes the events of the next request.
    fn next(&self) -> Option<Vec<QueuedEvent>> {
        let mut events = self.take_mergeable()?;
        // Before they are merged: the rules change which of them can be.
        for queued in &mut events {
            queued.content.redact(&self.lane);
        }
        let count = MergedEnrichment::of(enrichments(&events)).count().max(1);
        let rest = events.split_off(count);
        if !rest.is_empty() {
            // Put them back at the front; no other task takes from it.
            let mut state = self.state.lock();
            rest.into_iter().rev().for_each(|event| state.waiting.push_front(event));
        }
        Some(events)
    }

    /// Takes a start or a single event, or consecutive enrichments up to the limit of a request. `next` checks
    /// without the lock whether they merge.
    fn take_mergeable(&self) -> Option<Vec<QueuedEvent>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            *state = State::default();
            return None;
        }
        let candidates = state.waiting.iter().take(MergedEnrichment::MAX_COUNT);
        let count = candidates
            .take_while(|waiting| matches!(waiting.content.event, SessionEvent::Enrich(_)))
            .count()
            .max(1);
        Some(state.waiting.drain(..count).collect())
    }

    async fn send(&self, events: &[QueuedEvent]) -> Outcome {
        let request = self.lane.begin_request(RequestKind::SessionEvents);
        run_request(&self.lane, RequestKind::SessionEvents, async {
            let call = self.call(events)?;
            let newest = events.last().expect("a request has at least one event");
            let sending = Sending {
                call: &call,
                request: &request,
                count: 1,
                traces: &TraceCounts::default(),
                age: newest.ticket.age(),
                on_fault: OnFault::Retry,
                refusal: None,
            };
            Ok(deliver(&self.lane, &sending, None).await)
        })
        .await
    }

    fn call(&self, events: &[QueuedEvent]) -> Result<Call, ExportError> {
        // The binding may have changed while the event was on disk.
        let sessions = self.lane.destination.sessions.as_ref();
        let urls = sessions.ok_or_else(|| ExportError::Encoding("the backend has no sessions".into()))?;
        let (method, url, encoded) = match events.first().map(|first| &first.content.event) {
            Some(SessionEvent::Start(body)) => (Method::POST, &urls.start, body::json(body)?),
            #[cfg(feature = "encoded")]
            Some(SessionEvent::Single(body)) => (Method::POST, &urls.events, body::json(body)?),
            _ => (
                Method::PUT,
                &urls.events,
                body::json(&MergedEnrichment::of(enrichments(events)))?,
            ),
        };
        Ok(Call {
            kind: CallKind::Http(method),
            url: url.clone(),
            encoded,
        })
    }

    fn complete(&self, events: &[QueuedEvent], outcome: Outcome) {
        self.lane.complete_events(&tickets(events), outcome);
    }
}

impl Content {
    fn new(event: SessionEvent, source: Source) -> Self {
        #[cfg(not(feature = "redact"))]
        let _ = source;
        Self {
            event,
            // Those of clients are redacted when they are admitted.
            #[cfg(feature = "redact")]
            is_redacted: source != Source::Program,
        }
    }

    /// Applies the rules of a lane, unless they were applied.
    fn redact(&mut self, lane: &Lane) {
        #[cfg(not(feature = "redact"))]
        let _ = lane;
        #[cfg(feature = "redact")]
        if let Some(redaction) = &lane.policies.redaction
            && !std::mem::replace(&mut self.is_redacted, true)
        {
            redact::event(redaction, lane.destination.source.as_deref(), &mut self.event);
        }
    }
}

impl State {
    /// Queues an event. Returns whether a task must be started.
    fn push(&mut self, event: QueuedEvent) -> bool {
        self.waiting.push_back(event);
        !std::mem::replace(&mut self.running, true)
    }
}

impl Drop for SessionQueue {
    fn drop(&mut self) {
        self.lane.remove_session_queue(self.session);
    }
}

impl SessionSender for SessionQueue {
    fn send_all(self: Arc<Self>) {
        tokio::spawn(async move { self.run().await });
    }

    fn lane_address(&self) -> usize {
        Arc::as_ptr(&self.lane).addr()
    }
}

fn tickets(events: &[QueuedEvent]) -> Vec<Ticket> {
    events.iter().map(|queued| queued.ticket).collect()
}

fn enrichments(events: &[QueuedEvent]) -> impl Iterator<Item = &Map<String, Value>> {
    events.iter().filter_map(|waiting| {
        let SessionEvent::Enrich(delta) = &waiting.content.event else {
            return None;
        };
        Some(delta)
    })
}
