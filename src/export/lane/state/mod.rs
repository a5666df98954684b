//! The state that a lane's mutex guards.

mod failures;
mod in_flight;
mod key_refusals;
mod outage;
mod receiver_health;
mod requests;
mod state;

pub(super) use outage::Outage;
pub(super) use state::{MakeEvent, Schedule, State};
