//! Log lines of a lane. The limits are per selector, so tracers that are recreated for each request
//! share one limit.

use std::sync::Arc;

use super::lane::Lane;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::log::episode::Begun;
use crate::export::log::episodes::{Episodes, LogLine, ReasonName, Subject, TARGET, Transition};
use crate::export::schedule::engine_event::EngineEvent;
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;

impl Lane {
    /// Records a span or session event refused by the queue. Runs on application threads; a task of
    /// the engine writes the line.
    pub(super) fn log_refused(self: &Arc<Self>, kind: RequestKind, reason: DropReason) {
        if let Some(ledger) = self.selector_ledger()
            && ledger.episodes.note(Subject::Dropped(kind, reason), 1)
        {
            self.notify(EngineEvent::Log);
        }
    }

    /// Logs the outcome of `count` spans or session events.
    pub(super) fn log_outcome(&self, kind: RequestKind, count: u64, outcome: Outcome) {
        let Some(ledger) = self.selector_ledger() else { return };
        let (reason, count) = match outcome {
            Outcome::Delivered { rejected: 0 } => {
                let is_affected = |subject| matches!(subject, Subject::Dropped(of, _) if of == kind);
                return self.write(&ledger.episodes.end_if_calm(is_affected));
            }
            Outcome::Delivered { rejected } => (DropReason::Rejected, rejected),
            Outcome::Refused(reason) | Outcome::Dropped(reason) => (reason, count),
            Outcome::Faulted => return,
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
    fn write(&self, lines: &[LogLine]) {
        for line in lines {
            match line.transition {
                Transition::Begins(begun) => self.log_start(line.subject, begun),
                Transition::Ends(count) => self.log_end(line.subject, count),
            }
        }
    }

    fn log_start(&self, subject: Subject, Begun { count, left_out }: Begun) {
        let selector = &self.selector;
        let (endpoint, source) = (&self.destination.origin, &self.key.origin().source);
        let (error, refusals) = {
            let state = self.state.lock();
            (
                state
                    .failures()
                    .map(|failures| tracing::field::display(failures.error.clone())),
                state.key_refusals(),
            )
        };
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
                // For a full queue, the last error may be old and unrelated.
                let error = error.filter(|_| reason != DropReason::QueueFull);
                let reason = ReasonName(reason);
                tracing::warn!(target: TARGET, %selector, of = kind.name(), endpoint, %reason, count, error, left_out, "data is dropped");
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
        }
    }
}
