//! Log lines about problems, and their limits.

pub(super) mod budget;
pub(super) mod episode;
pub(super) mod episodes;
