//! Look-ups.
//!
//! | file | owns |
//! |---|---|
//! | `blocking`, `asynchronous` | the public look-ups; they serve a hit themselves |
//! | `slow_path` | a tracer that is not there, or whose binding expired |
//! | `make` | a tracer from its binding |
//! | `reentrancy` | sources that look up tracers while they are asked |
//! | `shared_projects` | selectors that send to one project |

mod asynchronous;
mod blocking;
mod make;
mod reentrancy;
mod shared_projects;
mod slow_path;

pub(super) use shared_projects::{SharedProjects, are_apart};
