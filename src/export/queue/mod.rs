//! Queued spans and session events, and their memory budget.

pub(super) mod budget;
pub(super) mod byte_size;
#[cfg(feature = "encoded")]
pub(super) mod encoded;
#[cfg(feature = "spool")]
pub(super) mod order;
pub(super) mod session_event;
pub(super) mod span_queue;
