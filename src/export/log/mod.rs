//! Log lines about problems, their limits, and the changes that a registry records.

pub(super) mod budget;
pub(super) mod changes;
pub(super) mod episode;
pub(super) mod episodes;
