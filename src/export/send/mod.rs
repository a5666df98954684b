//! From a batch to its outcome: attempts, what their answers mean, halves of what is refused.

pub(super) mod batch;
pub(super) mod deliver;
pub(super) mod probe;
pub(super) mod verdict;
