//! Log lines and changes of a lane. The limits are per selector, so tracers that are recreated for
//! each request share one limit.

use std::fmt::Display;
use std::sync::Arc;

use super::lane::Lane;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::log::changes::ChangeKind;
use crate::export::log::episode::{Begun, Start};
use crate::export::log::episodes::{Episodes, ProblemEvent, ReasonName, Subject, TARGET, Transition};
use crate::export::schedule::engine_event::EngineEvent;
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;

impl Lane {
    /// Records a span or session event refused by the queue. Runs on application threads; a task of
    /// the engine writes the line.
    pub(super) fn log_refused(self: &Arc<Self>, kind: RequestKind, reason: DropReason) {
        self.log_later(Subject::Dropped(kind, reason));
    }

    /// Records a request of a client that the queue refused. A task of the engine writes the line.
    #[cfg(feature = "encoded")]
    pub(crate) fn log_refused_request(self: &Arc<Self>, kind: RequestKind, reason: DropReason) {
        if reason != DropReason::AfterShutdown {
            self.log_later(Subject::Refused(kind, reason));
        }
    }

    fn log_later(self: &Arc<Self>, subject: Subject) {
        if let Some(ledger) = self.selector_ledger()
            && ledger.episodes.note(subject, 1)
        {
            self.notify(EngineEvent::Log);
        }
    }

    /// Logs the outcome of `count` spans or session events.
    pub(super) fn log_outcome(&self, kind: RequestKind, count: u64, outcome: Outcome) {
        let Some(ledger) = self.selector_ledger() else { return };
        let (reason, count) = match outcome {
            Outcome::Delivered { rejected: 0 } => {
                let is_affected =
                    |subject| matches!(subject, Subject::Dropped(of, _) | Subject::Refused(of, _) if of == kind);
                return self.write(&ledger.episodes.end_if_calm(is_affected));
            }
            Outcome::Delivered { rejected } => (DropReason::Rejected, rejected),
            Outcome::Refused(reason) | Outcome::Dropped(reason) => (reason, count),
            Outcome::Faulted | Outcome::HandedOver => return,
        };
        self.log_problem(&ledger.episodes, Subject::Dropped(kind, reason), count);
    }

    /// Logs that the receiver refused or accepted the current key.
    pub(super) fn log_key(&self, kind: RequestKind, is_refused: bool) {
        if let Some(ledger) = self.selector_ledger() {
            self.log_state(&ledger.episodes, Subject::Key(kind), is_refused);
        }
    }

    /// Logs breakers that opened or closed with the last attempt.
    pub(crate) fn log_breakers(&self, kind: RequestKind) {
        let breakers = self.breakers.chain(kind);
        if let Some(ledger) = self.selector_ledger() {
            self.log_state(&ledger.episodes, Subject::Breaker(kind), breakers.own.is_open());
        }
        let is_open = breakers.endpoint.is_open();
        self.log_state(&self.connections.episodes, Subject::Endpoint, is_open);
    }

    fn log_state(&self, episodes: &Episodes, subject: Subject, is_problem: bool) {
        if is_problem {
            self.log_problem(episodes, subject, 1);
        } else {
            self.write(&episodes.end(|other| other == subject));
        }
    }

    /// Writes the pending log lines of the lane's selector.
    pub(crate) fn write_pending(&self) {
        if let Some(ledger) = self.selector_ledger() {
            self.write(&ledger.episodes.take_begun(&self.shared.lines));
        }
    }

    fn log_problem(&self, episodes: &Episodes, subject: Subject, count: u64) {
        if episodes.note(subject, count) {
            self.write(&episodes.take_begun(&self.shared.lines));
        }
    }

    /// Call without any lock held: a `tracing` subscriber may call the registry.
    fn write(&self, events: &[ProblemEvent]) {
        for event in events {
            match event.transition {
                Transition::Begins(start) => self.log_start(event.subject, start),
                Transition::Ends(end) => {
                    let of = event.subject.of().map(ToOwned::to_owned);
                    self.record_change(event.subject, ChangeKind::ProblemEnded(event.subject.problem()), of);
                    if let Some(count) = end.line {
                        self.log_end(event.subject, count);
                    }
                }
            }
        }
    }

    fn record_change(&self, subject: Subject, kind: ChangeKind, detail: Option<String>) {
        let selector = (subject != Subject::Endpoint).then_some(&self.selector);
        let endpoint = Some(self.destination.origin.as_str());
        self.shared.changes.record(kind, selector, endpoint, detail);
    }

    fn log_start(&self, subject: Subject, Start { is_new, line }: Start) {
        let selector = &self.selector;
        let (endpoint, source) = (&self.destination.origin, &self.key.origin().source);
        let (error, refusals) = {
            let state = self.state.lock();
            (
                state.failures().map(|failures| failures.error.clone()),
                state.key_refusals(),
            )
        };
        // For a full queue, the last error may be old and unrelated.
        let error = error.filter(|_| {
            !matches!(
                subject,
                Subject::Dropped(_, DropReason::QueueFull) | Subject::Refused(_, DropReason::QueueFull)
            )
        });
        if is_new {
            let detail = match subject {
                Subject::Key(kind) => subject.detail(refusals.status(kind)),
                Subject::Breaker(_) | Subject::Endpoint | Subject::Dropped(..) | Subject::Refused(..) => {
                    subject.detail(error.as_ref())
                }
            };
            self.record_change(subject, ChangeKind::ProblemBegan(subject.problem()), detail);
        }
        let Some(Begun { count, left_out }) = line else { return };
        let error = error.map(tracing::field::display);
        match subject {
            Subject::Key(kind) => {
                let status = refusals.status(kind).map(tracing::field::display);
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, %source, status, count, left_out, "receiver refuses the API key");
            }
            Subject::Breaker(kind) => {
                let failures = self.breakers.chain(kind).own.status().failures;
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, failures, error, left_out, "tracer breaker opened: requests fail");
            }
            Subject::Endpoint => {
                let failures = self.breakers.chain(RequestKind::Spans).endpoint.status().failures;
                tracing::warn!(target: TARGET, endpoint, failures, error, left_out, "endpoint breaker opened: connections fail");
            }
            Subject::Dropped(kind, reason @ DropReason::Rejected) => {
                let reason = ReasonName(reason);
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, error, left_out, "receiver rejects part of a request");
            }
            Subject::Dropped(kind, reason) => {
                let reason = ReasonName(reason);
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, error, left_out, "data is dropped");
            }
            Subject::Refused(kind, reason) => {
                let reason = ReasonName(reason);
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, error, left_out, "requests of clients are refused");
            }
        }
    }

    fn log_end(&self, subject: Subject, count: u64) {
        let selector = &self.selector;
        let endpoint = &self.destination.origin;
        match subject {
            Subject::Key(kind) => {
                tracing::info!(target: TARGET, %selector, of = kind.name(), endpoint, count, "receiver accepts the API key again");
            }
            Subject::Breaker(kind) => {
                tracing::info!(target: TARGET, %selector, of = kind.name(), endpoint, "tracer breaker closed");
            }
            Subject::Endpoint => {
                tracing::info!(target: TARGET, endpoint, "endpoint breaker closed");
            }
            Subject::Dropped(kind, reason) => {
                let reason = ReasonName(reason);
                tracing::info!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, "data is no longer dropped");
            }
            Subject::Refused(kind, reason) => {
                let reason = ReasonName(reason);
                tracing::info!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, "requests of clients are accepted again");
            }
        }
    }
}

impl Subject {
    /// Returns what the problem is about, unless it is about connections.
    fn of(self) -> Option<&'static str> {
        match self {
            Self::Key(kind) | Self::Breaker(kind) | Self::Dropped(kind, _) | Self::Refused(kind, _) => {
                Some(kind.name())
            }
            Self::Endpoint => None,
        }
    }

    /// Returns the detail of a change: what it is about, and its cause.
    fn detail(self, cause: Option<impl Display>) -> Option<String> {
        match (self.of(), cause) {
            (Some(of), Some(cause)) => Some(format!("{of}: {cause}")),
            (of, cause) => cause.map(|cause| cause.to_string()).or(of.map(ToOwned::to_owned)),
        }
    }
}
