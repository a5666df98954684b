//! How tracers are doing, and what the bindings of a configuration come to.

mod types;
mod warnings;

pub use types::{CheckMode, CheckedBinding, ConnectionCheck, EvictedTotals, PoolStatus, Status, TracerStatus};
pub(super) use types::{check, of};
pub use warnings::CheckWarning;
