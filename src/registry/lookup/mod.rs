//! Look-ups.
//!
//! | file | owns |
//! |---|---|
//! | `blocking`, `asynchronous` | the public look-ups, including the hit path |
//! | `slow_path` | tracers that are missing or whose binding expired |
//! | `make` | creating a tracer from its binding |
//! | `reentrancy` | look-ups made by a source while it is being asked |
//! | `shared_projects` | warning about selectors that send to one project |

mod asynchronous;
mod blocking;
mod make;
mod reentrancy;
mod shared_projects;
mod slow_path;

pub(super) use shared_projects::{SharedProjects, are_unrelated};
