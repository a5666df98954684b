//! Reloading the configuration at run time.

mod apply;
#[cfg(feature = "watch")]
mod changed_files;
mod extension;
#[cfg(feature = "watch")]
mod removals;
mod report;
#[cfg(feature = "watch")]
mod watched_files;

#[cfg(feature = "gateway")]
pub use extension::PreparedReload;
pub(super) use extension::ReloadExtension;
pub(super) use report::Reloads;
pub use report::{ConfigurationStatus, Reload, ReloadError, RetainedTracer};
#[cfg(feature = "watch")]
pub(super) use watched_files::WatchedFiles;
