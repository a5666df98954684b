//! One tracer's path to its backend.

mod copies;
#[cfg(feature = "spool")]
pub(super) mod durable;
pub(super) mod events;
mod fates;
mod flush;
mod interrupt;
mod lane;
#[cfg(feature = "spool")]
mod loads;
mod log;
#[cfg(all(test, tracer_registry_model))]
mod model;
mod pause;
#[cfg(feature = "encoded")]
pub(super) mod payloads;
#[cfg(feature = "spool")]
#[allow(dead_code)]
pub(super) mod place;
pub(super) mod processor;
#[cfg(test)]
mod property;
pub(super) mod receiver;
pub(super) mod request;
#[cfg(feature = "spool")]
pub(super) mod saved_events;
mod spans;
#[cfg(all(test, feature = "spool", not(tracer_registry_model)))]
mod spool_property;
#[cfg(all(test, feature = "spool", not(tracer_registry_model)))]
mod spool_tests;
mod state;
pub(super) mod stripes;
mod sync;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use lane::{Lane, LaneParts};
