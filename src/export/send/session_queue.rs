//! The ordered events of one session: each request goes out when the one before it has its outcome.
//!
//! A start goes by itself. An enrichment takes those behind it along that can be told in the same request unseen ([`MergedEnrichment`]). Each stays
//! an event of its own: it is counted and settled by itself, and where the request is refused, sent by itself.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value};

use super::deliver::{OnFault, Sending, deliver, run_request};
use super::outcome::Outcome;
use crate::backend::MergedEnrichment;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::encode::body;
use crate::export::error::ExportError;
use crate::export::lane::Lane;
use crate::export::lane::events::Ticket;
use crate::export::net::exchange::{By, Call};
use crate::export::queue::session_event::SessionEvent;
use crate::export::schedule::engine_event::{EngineEvent, SessionSender};
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;

/// The events of one session that are not settled yet.
pub(crate) struct SessionQueue {
    lane: Arc<Lane>,
    state: ForkLock<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// A task of the engine is at work on it.
    running: bool,
}

struct Waiting {
    event: SessionEvent,
    /// What the lane settles it by.
    ticket: Ticket,
}

impl SessionQueue {
    pub(crate) fn new(lane: Arc<Lane>) -> Arc<Self> {
        Arc::new(Self {
            lane,
            state: ForkLock::default(),
        })
    }

    /// Takes an event. Never waits; an event that cannot be kept is dropped and counted. In a fork it is dropped.
    pub(crate) fn push(self: &Arc<Self>, event: SessionEvent) {
        // In a fork, whatever is locked now may stay so.
        if self.lane.shared().is_forked() {
            return;
        }
        let bytes = event.byte_size();
        // Counted and queued under the queue's lock, so that the order of counting is the order of sending.
        let mut state = self.state.lock();
        let Some(ticket) = self.lane.accept_event(bytes) else {
            return;
        };
        state.waiting.push_back(Waiting { event, ticket });
        let idle = !std::mem::replace(&mut state.running, true);
        drop(state);
        if idle {
            let shared = self.lane.shared();
            shared.notify(EngineEvent::Session(Arc::clone(self) as _));
            // A flush that came between counting and ringing waits for this event, and was heard before it.
            if ticket.is_before_flush(self.lane.flushes()) {
                shared.notify(EngineEvent::Flush(Arc::clone(&self.lane) as _));
            }
        }
    }

    /// Sends request after request until no event is left.
    async fn run(&self) {
        self.lane.shared().permits.wake(&self.lane.virtual_time);
        while let Some(events) = self.next() {
            if !self.lane.take_events(events.len()) {
                return;
            }
            match self.send(&events).await {
                // One of them may be what is wrong with the request: the others are not to go with it.
                Outcome::Refused(_) | Outcome::Dropped(DropReason::Encoding) if events.len() > 1 => {
                    for one in events.chunks(1) {
                        if self.lane.is_closed() {
                            return;
                        }
                        self.complete(one, self.send(one).await);
                    }
                }
                outcome if outcome.is_expired() => self.give_up(events, outcome),
                outcome => self.complete(&events, outcome),
            }
        }
    }

    /// The time of a request is over: its events are dropped, and with them all that are as old.
    fn give_up(&self, mut events: Vec<Waiting>, outcome: Outcome) {
        let max_elapsed = self.lane.shared().settings.retry.max_elapsed;
        if let Some(moment) = self.lane.expired_events_cutoff(max_elapsed) {
            let mut state = self.state.lock();
            // They are in the order in which they were accepted.
            let is_old = |waiting: &Waiting| waiting.ticket.was_accepted_by(moment);
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

    /// The events of the next request.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut events = self.take_row()?;
        let count = MergedEnrichment::of(enrichments(&events)).count().max(1);
        let rest = events.split_off(count);
        if !rest.is_empty() {
            // To where they were: nothing else takes from the front.
            let mut state = self.state.lock();
            rest.into_iter().rev().for_each(|event| state.waiting.push_front(event));
        }
        Some(events)
    }

    /// A start, or as many enrichments in a row as may be in one request. Whether they can be is found out without the lock.
    fn take_row(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            *state = State::default();
            return None;
        }
        let row = state.waiting.iter().take(MergedEnrichment::MAX_COUNT);
        let count = row
            .take_while(|waiting| matches!(waiting.event, SessionEvent::Enrich(_)))
            .count()
            .max(1);
        Some(state.waiting.drain(..count).collect())
    }

    async fn send(&self, events: &[Waiting]) -> Outcome {
        let request = self.lane.begin_request(RequestKind::SessionEvents);
        run_request(&self.lane, RequestKind::SessionEvents, async {
            let call = self.call(events)?;
            let newest = events.last().expect("a request carries something");
            let sending = Sending {
                call: &call,
                request: &request,
                count: 1,
                age: newest.ticket.age(),
                on_fault: OnFault::Retry,
            };
            Ok(deliver(&self.lane, &sending, None).await)
        })
        .await
    }

    fn call(&self, events: &[Waiting]) -> Result<Call, ExportError> {
        let urls = self
            .lane
            .destination
            .sessions
            .as_ref()
            .expect("events are for backends with sessions");
        let (method, url, encoded) = match events.first().map(|first| &first.event) {
            Some(SessionEvent::Start(body)) => (Method::POST, &urls.start, body::json(body)?),
            _ => (
                Method::PUT,
                &urls.events,
                body::json(&MergedEnrichment::of(enrichments(events)))?,
            ),
        };
        Ok(Call {
            by: By::Http(method),
            url: url.clone(),
            encoded,
        })
    }

    fn complete(&self, events: &[Waiting], outcome: Outcome) {
        self.lane
            .complete_events(events.iter().map(|waiting| waiting.ticket), outcome);
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

fn enrichments(events: &[Waiting]) -> impl Iterator<Item = &Map<String, Value>> {
    events.iter().filter_map(|waiting| match &waiting.event {
        SessionEvent::Start(_) => None,
        SessionEvent::Enrich(delta) => Some(delta),
    })
}
