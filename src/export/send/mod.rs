//! From a batch to its outcome: attempts, what their answers mean, halves of what is refused.

mod admission;
mod aside;
pub(super) mod batch;
mod carried;
pub(super) mod deliver;
pub(super) mod outcome;
pub(super) mod parts;
pub(super) mod probe;
pub(super) mod session_queue;
pub(super) mod verdict;
