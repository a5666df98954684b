//! When a request may be sent: the threads that move requests, the permits that they wait for, the
//! breakers that they pass.

pub(super) mod blocking;
pub(super) mod breaker;
pub(super) mod breaker_chain;
pub(super) mod breaker_status;
pub(super) mod driver;
pub(super) mod engine_event;
pub(super) mod fair_semaphore;
pub(super) mod permits;
pub(super) mod shortage;
mod stopwatch;
mod workers;
