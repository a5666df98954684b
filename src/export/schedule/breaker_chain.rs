//! The breakers that a request has to pass, and what an attempt tells them.
//!
//! | what an attempt showed | breaker of the tracer | breaker of the endpoint |
//! |---|---|---|
//! | no connection came about: refused, unreachable, no such name, no TLS, not in time | nothing | failure |
//! | a connection that broke, no answer in time, 408, 5xx | failure | success |
//! | 500 and the like, while it is looked for what the receiver fails on | nothing | success |
//! | 401, 403, where no other key is to be had | failure | success |
//! | 401, 403, where there is another key, and so another attempt at once | nothing | success |
//! | any other answer; 429; 408 and 5xx with a `Retry-After` that is kept | success | success |
//!
//! An endpoint is shared by tracers with keys of their own. What happens on a connection may be
//! about the key: a gateway may let one tenant hang and serve the next. So only what no key can
//! have to do with stops the others. A receiver that says when to come back is at work, and is
//! waited for as it says: the breaker of the tracer lets nothing through until then, whatever its
//! state. A breaker that is open because of the key closes when there is another key.
//!
//! A request that has its turn at a receiver short of capacity ([`shortage`](super::shortage)) ends
//! an opening: it is the probe.
//!
//! A tracer has one breaker for spans and one for session events. They are different paths at the
//! receiver, and one that fails is not to hold the other up.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::breaker::{Breaker, Pass};
use super::breaker_status::Breakers;
use crate::config::RetrySettings;
use crate::export::accounting::lane_status::RequestKind;
use crate::ledger::DropReason;

/// The breakers on one tracer's way.
#[derive(Debug)]
pub(crate) struct LaneBreakers {
    spans: Breaker,
    session_events: Breaker,
    endpoint: Arc<Breaker>,
}

/// The breakers on one request's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerChain<'a> {
    /// Of the tracer, for requests of this kind.
    pub(crate) own: &'a Breaker,
    pub(crate) endpoint: &'a Breaker,
}

/// A request that all breakers let through.
pub(crate) struct ChainPass<'a> {
    own: Pass<'a>,
    /// None where it was told already.
    endpoint: Option<Pass<'a>>,
}

/// What an attempt showed of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptSignal {
    AtWork,
    Failing,
    /// It failed on a request, perhaps for what that carried.
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

    /// The breakers on the way of a request of this kind.
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

    /// There is another key.
    pub(crate) fn note_new_key(&self) {
        self.spans.note_new_key();
        self.session_events.note_new_key();
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

    /// Waits until a request would be let through; whether it still is, [`enter`](Self::enter)
    /// says.
    pub(crate) async fn ready(self) {
        while !self.is_ready() {
            self.endpoint.ready().await;
            self.own.ready().await;
        }
    }

    /// Why what waited here for too long is dropped.
    pub(crate) fn reason(self) -> DropReason {
        if self.own.is_denied() {
            DropReason::Unauthorized
        } else {
            DropReason::RetriesExhausted
        }
    }

    pub(crate) fn enter(self) -> Option<ChainPass<'a>> {
        // Where the second does not let it through, the first one's pass is given back as it is
        // dropped.
        let own = self.own.enter()?;
        let endpoint = self.endpoint.enter()?;
        Some(ChainPass {
            own,
            endpoint: Some(endpoint),
        })
    }
}

impl ChainPass<'_> {
    /// There was an answer, whatever it means for the tracer: others need not wait until that is
    /// known.
    pub(crate) fn reached(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.succeeded();
        }
    }

    pub(crate) fn end(mut self, signal: AttemptSignal, retry: &RetrySettings) {
        match signal {
            AttemptSignal::AtWork => {
                self.reached();
                self.own.succeeded();
            }
            // The tracer's own breaker learns nothing: others go on meanwhile.
            AttemptSignal::Faulty => self.reached(),
            AttemptSignal::Failing | AttemptSignal::Denying => {
                self.reached();
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
