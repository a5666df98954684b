//! Received data in bounded memory.
//!
//! One lock is enough: the collector serves from one thread, and only moves decoded values while it
//! holds the lock. All projects share one sequence, so their orders of arrival are comparable.

mod changes;
mod record;
mod retention;
mod state;
mod trace_index;
mod views;

pub(crate) use self::record::{Counts, ProjectId};
pub(crate) use self::retention::Limits;
pub(crate) use self::state::Store;
pub(crate) use self::views::{Changed, Label, SessionView, TraceSpans};
