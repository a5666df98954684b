//! The interpreter: does what a program says, on a subject, and writes down what only the running program can see.

mod interpreter;
mod place;
mod state;
mod sync;
mod tasks;

pub(super) use interpreter::run;
pub(super) use place::{baggage_key, current, late_key, with_entry};
pub(super) use state::Observed;
#[cfg(test)]
pub(super) use state::Wrong;
