//! Data that waits on disk: rows of the store, and the ways of a lane's data to it and back.

#[allow(dead_code)]
pub(super) mod backlog;
