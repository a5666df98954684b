//! Errors of encoded spans.

use crate::export::{NoRoom, PayloadError};
use crate::ledger::DropReason;
use crate::selector::Selector;

/// A body is not OTLP traces.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidTraces(#[from] PayloadError);

/// Traces cannot be queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A tracer has no room. A later attempt may succeed.
    #[error("cannot queue spans of {selector}: {reason}")]
    Full {
        /// Selector of the tracer.
        selector: Selector,
        /// Reason that spans of the program would be dropped for.
        reason: DropReason,
    },
    /// A part is larger than `limits.request_bytes`, or than half of `export.max_queue_bytes`. It
    /// is refused on each attempt.
    #[error("spans of {selector} have {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Selector of the tracer.
        selector: Selector,
        /// Bytes of the part.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The registry is shut down, or this process is a fork of its process.
    #[error("the registry is shut down")]
    Closed,
    /// The registry sends JSON, which encoded spans are not.
    #[error("encoded spans cannot be sent with export.protocol = \"http/json\"")]
    Json,
}

impl IngestError {
    pub(super) fn of(reason: NoRoom, selector: &Selector, bytes: usize) -> Self {
        let selector = selector.clone();
        match reason {
            NoRoom::Closed => Self::Closed,
            NoRoom::Full(reason) => Self::Full { selector, reason },
            NoRoom::TooLarge { max } => Self::TooLarge { selector, bytes, max },
            NoRoom::Json => Self::Json,
        }
    }
}
