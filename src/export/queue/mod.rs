//! What waits to be sent, and the memory that it may take.

pub(super) mod budget;
pub(super) mod byte_size;
pub(super) mod session_event;
pub(super) mod span_queue;
