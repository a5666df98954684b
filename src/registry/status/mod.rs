//! The status of tracers, and checks of a configuration's bindings.

mod check;
mod collect;
mod types;
mod warnings;

pub use check::{CheckMode, CheckedBinding, ConnectionCheck};
pub use types::{EvictedTotals, PoolStatus, Status, TracerStatus};
pub use warnings::CheckWarning;
