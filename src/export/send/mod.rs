//! Delivery of a batch: attempts, verdicts on their answers, splitting of refused batches.

mod admission;
pub(super) mod batch;
pub(super) mod deliver;
#[cfg(feature = "metrics")]
pub(super) mod durations;
mod in_flight_batch;
pub(super) mod outcome;
pub(super) mod parts;
pub(super) mod probe;
mod quarantine;
pub(super) mod session_queue;
pub(super) mod verdict;
