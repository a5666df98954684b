//! Tracers by selector: created once per selector and outside any lock, limited in number, evicted
//! when idle.
//!
//! | file | owns |
//! |---|---|
//! | `tracer_pool` | the pool: combines slots, capacity and clock |
//! | `slots` | look-up, build, eviction and removal of one slot |
//! | `clock` | when a tracer was last used, and when it expires |
//! | `capacity` | the limit on tracers, and the behaviour of a full pool |
//! | `sweep` | choosing the tracers to evict |
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
