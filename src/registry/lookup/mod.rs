//! Look-ups: the way of a hit, the way to a tracer that is not there, and what makes one.

mod asynchronous;
mod blocking;
mod make;
mod reentrancy;
mod shared_projects;
mod slow_path;

pub(super) use shared_projects::{SharedProjects, are_apart};
