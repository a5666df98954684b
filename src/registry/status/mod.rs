//! How tracers are doing, and what the bindings of a configuration come to.

mod check;
mod collect;
mod types;
mod warnings;

pub use check::{CheckMode, CheckedBinding, ConnectionCheck};
pub use types::{EvictedTotals, PoolStatus, Status, TracerStatus};
pub use warnings::CheckWarning;
