//! Scheduling of requests: threads, permits, breakers.

pub(super) mod blocking;
pub(super) mod breaker;
pub(super) mod breaker_chain;
pub(super) mod breaker_status;
pub(super) mod capacity_queue;
pub(super) mod driver;
pub(super) mod engine_event;
pub(super) mod fair_semaphore;
pub(super) mod permits;
mod stopwatch;
mod workers;
