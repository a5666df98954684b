//! The registry: look-ups, status, reload, flush and shutdown. Owns the pool, the accounting and
//! the engine.

mod binding_cache;
mod bindings;
mod builder;
mod changes;
mod control;
mod copies;
mod default_route;
mod error;
mod explain;
mod failed_lookups;
mod flush;
mod handle;
mod lookup;
#[cfg(feature = "metrics")]
mod metrics;
mod pool;
#[cfg(all(feature = "gateway", feature = "redact"))]
mod redaction;
#[cfg(feature = "redact")]
mod redactors;
mod reload;
mod spool;
mod start;
mod state;
mod status;
mod unrouted;
mod weak;

pub use binding_cache::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
pub use builder::RegistryBuilder;
pub use control::Rotation;
pub use error::{BuildError, LookupError};
pub use handle::TracerRegistry;
#[cfg(feature = "gateway")]
pub use reload::PreparedReload;
pub use reload::{ConfigurationStatus, Reload, ReloadError, RetainedTracer};
pub use spool::{Erased, PurgeError, PurgeReceipt};
#[cfg(feature = "gateway")]
pub use status::SpanCounts;
pub use status::{
    Attention, CheckMode, CheckWarning, CheckedBinding, ConnectionCheck, EndpointStatus, EvictedTotals, PoolStatus,
    Severity, SpoolHealth, SpoolStatus, Status, Totals, TracerFilter, TracerOrder, TracerPage, TracerPosition,
    TracerQuery, TracerStatus,
};
pub(crate) use unrouted::Unrouted;
pub use unrouted::UnroutedStatus;
pub(crate) use weak::WeakRegistry;
