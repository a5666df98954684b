//! The ordered events of one session: each goes out when the one before it has its outcome.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use serde_json::Value;

use super::deliver::{Load, deliver};
use super::encode;
use super::engine::Ring;
use super::lane::Lane;
use super::transport::Call;

/// One message about a session.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// `POST /session/start`
    Start(Value),
    /// `PUT /events`
    Enrich(Value),
}

/// The events of one session that are not settled yet.
pub(crate) struct Outbox {
    lane: Arc<Lane>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(SessionEvent, u64)>,
    /// A task of the engine is at work on it.
    running: bool,
}

impl Outbox {
    pub(crate) fn new(lane: Arc<Lane>) -> Arc<Self> {
        Arc::new(Self {
            lane,
            state: Mutex::default(),
        })
    }

    /// Takes an event. Never waits; an event that cannot be kept is dropped and counted.
    pub(crate) fn push(self: &Arc<Self>, event: SessionEvent) {
        if self.lane.destination.sessions.is_none() {
            self.lane.refuse_event();
            return;
        }
        // Counted and queued under the outbox's lock, so that the order of counting is the order of sending.
        let mut state = self.lock();
        let Some(flush) = self.lane.accept_event() else { return };
        state.waiting.push_back((event, flush));
        let idle = !std::mem::replace(&mut state.running, true);
        drop(state);
        if idle {
            self.lane.shared().ring(Ring::Session(Arc::clone(self)));
        }
    }

    /// Sends event after event until none is left.
    pub(super) async fn run(self: Arc<Self>) {
        while let Some((event, flush)) = self.next() {
            if !self.lane.take_event() {
                return;
            }
            let outcome = deliver(self.lane.shared(), &self.lane, &self.call(&event), Load::SessionEvent).await;
            self.lane.settle_event(flush, outcome);
        }
    }

    fn next(&self) -> Option<(SessionEvent, u64)> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            *state = State::default();
        }
        next
    }

    fn call(&self, event: &SessionEvent) -> Call {
        let urls = self
            .lane
            .destination
            .sessions
            .as_ref()
            .expect("`push` refuses events where there are no sessions");
        let (method, url, body) = match event {
            SessionEvent::Start(body) => (Method::POST, &urls.start, body),
            SessionEvent::Enrich(body) => (Method::PUT, &urls.events, body),
        };
        Call {
            method,
            url: url.clone(),
            encoded: encode::json(body),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
