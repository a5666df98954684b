//! The state that a lane's mutex guards.

mod failures;
mod in_flight;
mod key_refusals;
#[cfg(feature = "spool")]
mod moves;
mod outage;
mod receiver_health;
mod requests;
#[cfg(feature = "spool")]
mod saved_events;
mod schedule;
#[cfg(feature = "spool")]
mod staged;
mod state;
#[cfg(feature = "spool")]
mod tickets;

pub(super) use outage::Outage;
pub(super) use schedule::{MakeEvent, Schedule};
#[cfg(feature = "spool")]
pub(super) use staged::LaneSpool;
pub(super) use state::{SessionEvents, State};
#[cfg(feature = "spool")]
pub(crate) use tickets::TicketPart;
