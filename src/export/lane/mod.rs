//! One tracer's way to its backend.

mod errors;
mod events;
mod finish;
mod idle;
mod in_flight;
mod lane;
mod lifetime;
mod log;
#[cfg(all(test, tracer_registry_model))]
mod model;
mod notes;
mod outage;
pub(super) mod processor;
#[cfg(test)]
mod property;
mod refusals;
mod requests;
mod snapshot;
mod standing;
mod state;
mod sync;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use errors::Failures;
pub(crate) use events::Ticket;
pub(crate) use lane::Lane;
pub(crate) use lifetime::Age;
pub(crate) use requests::UnderWay;
pub(crate) use snapshot::LaneSnapshot;
pub(crate) use state::{FlushMark, Pending};
