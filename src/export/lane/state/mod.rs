//! What a lane's mutex guards.

mod failures;
mod in_flight;
mod key_refusals;
mod outage;
mod requests;
mod standing;
mod state;

pub(super) use outage::Outage;
pub(super) use state::{Event, Schedule, State};
