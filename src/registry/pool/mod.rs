//! Tracers by selector: made once however many ask at once, outside any lock; bounded in number; evicted when they are idle.
//!
//! | file | owns |
//! |---|---|
//! | `tracer_pool` | the pool: slots, room and clock together |
//! | `slots` | what a look-up, a builder, an eviction and a removal do to one slot |
//! | `clock` | when a tracer was used, and what is too long ago |
//! | `capacity` | how many tracers there may be, and what happens where there is no room |
//! | `sweep` | looking through the pool |
//! | `maintenance` | the task that looks through it |

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
