//! Tracers that get copies of the spans of others (`also`).
//!
//! | file | owns |
//! |---|---|
//! | `targets` | the targets of a registry |
//! | `look_ups` | finding their tracers: at first, again after a failure, and after a change |
//!
//! A tracer holds its targets, and a target holds its tracer. So a target is not evicted while a
//! tracer copies to it, and is free to go afterwards.

mod look_ups;
mod targets;

pub(crate) use targets::CopyTargets;
