//! A configuration that is read again while it runs.

mod apply;
#[cfg(feature = "watch")]
mod removals;
#[cfg(feature = "watch")]
mod watching;

pub(super) use apply::Reloads;
pub use apply::{ConfigurationStatus, Reload, ReloadError, RetainedTracer};
#[cfg(feature = "watch")]
pub(super) use watching::Watching;
