//! Errors of data that clients sent.

use std::time::Duration;

#[cfg(feature = "spool")]
use tracer_registry_spool::AppendError;

use crate::export::{NoRoom, PayloadError};
use crate::ledger::DropReason;
use crate::selector::Selector;

/// A body is not OTLP traces.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidTraces(#[from] PayloadError);

/// Data of a client cannot be queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A tracer has no room. A later attempt may succeed.
    #[error("cannot queue data of {selector}: {reason}")]
    Full {
        /// Selector of the tracer.
        selector: Selector,
        /// Reason that data of the program would be dropped for.
        reason: DropReason,
    },
    /// A part, or a session request, is larger than `limits.request_bytes`, than half of `export.max_queue_bytes`, or
    /// than a message of the stream. It is refused on each attempt.
    #[error("data of {selector} has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Selector of the tracer.
        selector: Selector,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The rules of redaction would change so many values of a part that the changes take more than 32 MiB. It is
    /// refused on each attempt.
    #[error("redaction changes too many values of data of {selector} at once")]
    TooLargeToRedact {
        /// Selector of the tracer.
        selector: Selector,
    },
    /// More than the tenant's quota allows. A later attempt may succeed.
    #[error("data of {selector} is more than the tenant's quota; it may fit in {retry_after:?}")]
    Quota {
        /// Selector of the tracer.
        selector: Selector,
        /// When it may fit, at most an hour.
        retry_after: Duration,
    },
    /// The registry is shut down, or this process is a fork of its process.
    #[error("the registry is shut down")]
    Closed,
    /// The registry sends JSON, which encoded spans are not.
    #[error("encoded spans cannot be sent with export.protocol = \"http/json\"")]
    Json,
    /// The spool has no room. A later attempt may succeed.
    #[error("the spool has no room for data of {selector}")]
    SpoolFull {
        /// Selector of the tracer.
        selector: Selector,
    },
    /// The spool cannot write to its disk, or too much data waits for it. A later attempt may succeed.
    #[error("the spool cannot write data now")]
    SpoolUnavailable,
    /// The data of the selector was purged, and later data is not allowed again.
    #[error("the data of {selector} is erased")]
    Erased {
        /// Selector of the tracer.
        selector: Selector,
    },
}

impl IngestError {
    pub(super) fn of(reason: NoRoom, selector: &Selector, bytes: usize) -> Self {
        let selector = selector.clone();
        match reason {
            NoRoom::Closed => Self::Closed,
            NoRoom::Full(reason) => Self::full(reason, &selector),
            NoRoom::TooLarge { max } => Self::TooLarge { selector, bytes, max },
            NoRoom::Json => Self::Json,
            NoRoom::Erased => Self::Erased { selector },
            NoRoom::Failing => Self::SpoolUnavailable,
        }
    }

    /// Returns the reason to drop a copy for, of which no client hears.
    pub(super) fn drop_reason(&self) -> DropReason {
        match self {
            Self::Full { reason, .. } => *reason,
            Self::TooLarge { .. } | Self::TooLargeToRedact { .. } => DropReason::TooLarge,
            Self::Quota { .. } => DropReason::Quota,
            Self::Closed => DropReason::AfterShutdown,
            Self::Json => DropReason::Encoding,
            Self::SpoolFull { .. } | Self::SpoolUnavailable => DropReason::SpoolFull,
            Self::Erased { .. } => DropReason::Purged,
        }
    }

    /// Returns the error for the reason that data of the program would be dropped for.
    pub(super) fn full(reason: DropReason, selector: &Selector) -> Self {
        let selector = selector.clone();
        match reason {
            DropReason::AfterShutdown => Self::Closed,
            DropReason::Purged => Self::Erased { selector },
            DropReason::SpoolFull => Self::SpoolFull { selector },
            _ => Self::Full { selector, reason },
        }
    }

    /// Returns the error of data that the spool did not take.
    #[cfg(feature = "spool")]
    pub(super) fn of_append(error: &AppendError, selector: &Selector) -> Self {
        let selector = selector.clone();
        match error {
            AppendError::Full | AppendError::OwnerFull(_) => Self::SpoolFull { selector },
            AppendError::Erased(_) => Self::Erased { selector },
            AppendError::TooLarge { bytes, max } => Self::TooLarge {
                selector,
                bytes: *bytes,
                max: *max,
            },
            AppendError::Closed => Self::Closed,
            _ => Self::SpoolUnavailable,
        }
    }
}
