//! What a lane's mutex guards.

mod failures;
mod in_flight;
mod key_refusals;
pub(super) mod outage;
mod requests;
mod standing;
pub(super) mod state;
