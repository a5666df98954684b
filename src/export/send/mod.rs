//! From a batch to its outcome: attempts, what their answers mean, halves of what is refused.

mod admission;
pub(super) mod batch;
pub(super) mod deliver;
mod in_flight_batch;
pub(super) mod outcome;
pub(super) mod parts;
pub(super) mod probe;
mod quarantine;
pub(super) mod session_queue;
pub(super) mod verdict;
