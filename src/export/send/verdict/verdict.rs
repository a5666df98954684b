//! What becomes of a request after an attempt.

use std::time::Duration;

use crate::export::error::ExportError;
use crate::export::schedule::breaker_chain::AttemptSignal;
use crate::ledger::DropReason;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken; the receiver rejected some of its spans.
    Delivered {
        rejected: u64,
        warning: Option<ExportError>,
    },
    /// To be sent again, not before `after` where the server said so.
    Retry {
        after: Option<Duration>,
        error: ExportError,
    },
    /// The receiver fails on it: it may be down, or it may be something that the request carries.
    Fault { error: ExportError },
    /// The key was refused: to be sent again with another one.
    Deny { error: ExportError },
    /// Not taken, and never will be as it is: another request might fare better for what it carries.
    Refuse { reason: DropReason, error: ExportError },
    /// Not taken, and never will be, whatever it carries.
    Drop { reason: DropReason, error: ExportError },
}

impl Verdict {
    /// Returns the error of a request that was not taken.
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

    /// Returns what the attempt shows the breakers.
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
