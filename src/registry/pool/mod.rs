//! Tracers by selector: made once however many ask at once, outside any lock; bounded in number; evicted when they are idle.
//!
//! | file | owns |
//! |---|---|
//! | `tracer_pool` | the pool: slots, capacity and clock together |
//! | `slots` | what a look-up, a builder, an eviction and a removal do to one slot |
//! | `clock` | when a tracer was used, and what is too long ago |
//! | `capacity` | how many tracers there may be, and what happens if there is no room |
//! | `sweep` | which tracers have to go |
//! | `maintenance` | the task that sweeps |

mod capacity;
mod clock;
mod maintenance;
mod slots;
mod sweep;
#[cfg(test)]
mod tests;
mod tracer_pool;

pub(super) use maintenance::maintain;
pub(super) use tracer_pool::Pool;
