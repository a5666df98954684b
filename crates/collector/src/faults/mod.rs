//! Simulated faults.

pub(crate) mod fault;
pub(crate) mod list;
