//! The server: threads, connections and their limits.

pub(crate) mod activity;
pub(crate) mod budget;
pub(crate) mod connections;
pub(crate) mod hosts;
pub(crate) mod serving;
pub(crate) mod thread;
pub(crate) mod wire;
pub(crate) mod worker;
