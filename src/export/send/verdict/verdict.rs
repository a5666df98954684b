//! Verdict on an attempt.

use std::time::Duration;

use crate::export::error::ExportError;
use crate::export::schedule::breaker_chain::AttemptSignal;
use crate::ledger::DropReason;

/// Verdict on an attempt: what to do with the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Accepted, except `rejected` spans.
    Delivered {
        rejected: u64,
        warning: Option<ExportError>,
    },
    /// Retry, not before `after` if the receiver requested a wait.
    Retry {
        after: Option<Duration>,
        error: ExportError,
    },
    /// The receiver failed: it may be down, or fail on the content of the request.
    Fault { error: ExportError },
    /// The key was refused: retry with another one.
    Deny { error: ExportError },
    /// Permanently refused for its content: parts of it may be accepted.
    Refuse { reason: DropReason, error: ExportError },
    /// Permanently refused, whatever its content.
    Drop { reason: DropReason, error: ExportError },
}

impl Verdict {
    /// Returns the error of a failed attempt.
    pub(crate) fn failure(&self) -> Option<&ExportError> {
        match self {
            Self::Delivered { .. } => None,
            Self::Retry { error, .. }
            | Self::Fault { error }
            | Self::Deny { error }
            | Self::Refuse { error, .. }
            | Self::Drop { error, .. } => Some(error),
        }
    }

    /// Returns the signal for the breakers.
    pub(crate) fn signal(&self, connected: bool) -> AttemptSignal {
        match self {
            Self::Retry { after: None, error } => match error {
                ExportError::Status { status: 429, .. } => AttemptSignal::AtWork,
                _ if connected => AttemptSignal::Failing,
                _ => AttemptSignal::Unreachable,
            },
            Self::Fault { .. } => AttemptSignal::Faulty,
            Self::Deny { .. } => AttemptSignal::Denying,
            Self::Retry { .. } | Self::Delivered { .. } | Self::Refuse { .. } | Self::Drop { .. } => {
                AttemptSignal::AtWork
            }
        }
    }
}
