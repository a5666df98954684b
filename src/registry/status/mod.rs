//! The status of tracers, and checks of a configuration's bindings.

mod attention;
mod check;
mod collect;
mod endpoints;
mod page;
mod problems;
mod types;
mod warnings;

pub use attention::Attention;
pub use check::{CheckMode, CheckedBinding, ConnectionCheck};
#[cfg(feature = "gateway")]
pub use collect::SpanCounts;
pub use endpoints::EndpointStatus;
pub use page::{TracerFilter, TracerOrder, TracerPage, TracerPosition, TracerQuery};
pub use problems::Severity;
pub use types::{EvictedTotals, PoolStatus, SpoolHealth, SpoolStatus, Status, Totals, TracerStatus};
pub use warnings::CheckWarning;
