//! The breakers that a request passes, and the effect of attempts on them.
//!
//! | result of an attempt | tracer breaker | endpoint breaker |
//! |---|---|---|
//! | no connection: refused, unreachable, unknown name, TLS failure, timeout | nothing | failure |
//! | a broken connection, no answer in time, 408, 5xx | failure | success |
//! | 500 and the like, while the span at fault is searched | nothing | success |
//! | 401, 403, and no other key is available | failure | success |
//! | 401, 403, and the request is resent at once with another key | nothing | success |
//! | any other answer; 429; 408 and 5xx with a `Retry-After` that is obeyed | success | success |
//!
//! Tracers with different keys share an endpoint. A failure on a connection may depend on the key:
//! a gateway may let one tenant hang and serve the next. So only failures that cannot depend on the
//! key trip the endpoint breaker. A receiver that requests a wait is working; the tracer breaker
//! admits nothing until the wait ends, in any state. A breaker that opened because of a refused key
//! closes when the key changes.
//!
//! A request that gets its turn at a receiver short of capacity
//! ([`capacity_queue`](super::capacity_queue)) ends an opening and becomes the probe.
//!
//! A tracer has one breaker for spans and one for session events. They use different paths of the
//! receiver, and one must not block the other.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::breaker::{Breaker, Pass};
use super::breaker_status::Breakers;
use crate::config::RetrySettings;
use crate::export::accounting::lane_status::RequestKind;
use crate::ledger::DropReason;

/// The breakers of one lane.
#[derive(Debug)]
pub(crate) struct LaneBreakers {
    spans: Breaker,
    session_events: Breaker,
    endpoint: Arc<Breaker>,
}

/// The breakers that one request passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerChain<'a> {
    /// The tracer's breaker for requests of this kind.
    pub(crate) own: &'a Breaker,
    pub(crate) endpoint: &'a Breaker,
}

/// A request admitted by all breakers.
pub(crate) struct ChainPass<'a> {
    own: Pass<'a>,
    /// `None` once the outcome is reported.
    endpoint: Option<Pass<'a>>,
}

/// What an attempt shows about the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptSignal {
    /// It works.
    AtWork,
    Failing,
    /// It failed on a request, possibly because of the content.
    Faulty,
    /// It refuses the key.
    Denying,
    Unreachable,
}

impl LaneBreakers {
    pub(crate) fn new(endpoint: Arc<Breaker>) -> Self {
        Self {
            spans: Breaker::default(),
            session_events: Breaker::default(),
            endpoint,
        }
    }

    /// Returns the breakers for requests of this kind.
    pub(crate) fn chain(&self, kind: RequestKind) -> BreakerChain<'_> {
        BreakerChain {
            own: match kind {
                RequestKind::Spans => &self.spans,
                RequestKind::SessionEvents => &self.session_events,
            },
            endpoint: &self.endpoint,
        }
    }

    pub(crate) fn wake_retries(&self) {
        for breaker in [&self.spans, &self.session_events, self.endpoint.as_ref()] {
            breaker.wake_retries();
        }
    }

    /// Closes breakers that opened because of a refused key.
    pub(crate) fn note_new_key(&self) {
        self.spans.note_new_key();
        self.session_events.note_new_key();
    }

    /// Returns how many of the tracer's own breakers are open, and whether the endpoint's is.
    pub(crate) fn open(&self) -> (u8, bool) {
        let own = u8::from(self.spans.is_open()) + u8::from(self.session_events.is_open());
        (own, self.endpoint.is_open())
    }

    pub(crate) fn status(&self) -> Breakers {
        Breakers {
            spans: self.spans.status(),
            session_events: self.session_events.status(),
            endpoint: self.endpoint.status(),
        }
    }
}

impl<'a> BreakerChain<'a> {
    pub(crate) fn is_ready(self) -> bool {
        self.own.is_ready() && self.endpoint.is_ready()
    }

    /// Waits until a request would be admitted. Call [`enter`](Self::enter) afterwards, which may
    /// still refuse it.
    pub(crate) async fn ready(self) {
        while !self.is_ready() {
            self.endpoint.ready().await;
            self.own.ready().await;
        }
    }

    /// Returns the drop reason for data that expires while it waits here.
    pub(crate) fn reason(self) -> DropReason {
        if self.own.is_denied() {
            DropReason::Unauthorized
        } else {
            DropReason::RetriesExhausted
        }
    }

    pub(crate) fn enter(self) -> Option<ChainPass<'a>> {
        // If the endpoint refuses, dropping the first pass releases it.
        let own = self.own.enter()?;
        let endpoint = self.endpoint.enter()?;
        Some(ChainPass {
            own,
            endpoint: Some(endpoint),
        })
    }
}

impl ChainPass<'_> {
    /// Reports to the endpoint breaker that the receiver answered, before the verdict for the
    /// tracer is known.
    pub(crate) fn note_reached(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.succeeded();
        }
    }

    pub(crate) fn end(mut self, signal: AttemptSignal, retry: &RetrySettings) {
        match signal {
            AttemptSignal::AtWork => {
                self.note_reached();
                self.own.succeeded();
            }
            // Leaves the tracer's breaker unchanged, so that other batches continue.
            AttemptSignal::Faulty => self.note_reached(),
            AttemptSignal::Failing | AttemptSignal::Denying => {
                self.note_reached();
                self.own.failed(retry, signal == AttemptSignal::Denying);
            }
            AttemptSignal::Unreachable => {
                if let Some(endpoint) = self.endpoint {
                    endpoint.failed(retry, false);
                }
            }
        }
    }
}
