//! The log's lines about losses, and their bounds.

pub(super) mod budget;
pub(super) mod episode;
pub(super) mod episodes;
