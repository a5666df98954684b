//! Registry state that look-ups read and reloads change: the bindings and the tracers created from
//! them.
//!
//! The file watcher thread holds only this state, never the registry. So the last registry handle
//! always shuts the registry down on its own thread, which delivers the queued data before it
//! continues.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bindings::Bindings;
use super::copies::CopyTargets;
use super::error::LookupError;
use super::failed_lookups::FailedLookUps;
use super::lookup::SharedProjects;
use super::pool::Pool;
#[cfg(feature = "watch")]
use super::reload::WatchedFiles;
use super::reload::{ReloadExtension, Reloads};
use super::spool::ErasedSelectors;
#[cfg(feature = "spool")]
use crate::export::Spool;
use crate::policy::quota::Quotas;
use crate::util::fork::ForkGuard;

pub(crate) struct RegistryState {
    pub(crate) bindings: Bindings,
    pub(crate) pool: Arc<Pool>,
    pub(crate) reloads: Reloads,
    pub(crate) extension: ReloadExtension,
    pub(crate) projects: SharedProjects,
    pub(crate) failed: FailedLookUps,
    pub(crate) copies: CopyTargets,
    pub(crate) erased: Arc<ErasedSelectors>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) closed: AtomicBool,
    /// `None` if nothing goes to disk.
    #[cfg(feature = "spool")]
    pub(crate) spool: Option<Arc<Spool>>,
    pub(crate) fork: ForkGuard,
    #[cfg(feature = "watch")]
    pub(crate) watched: WatchedFiles,
}

impl RegistryState {
    pub(crate) fn check_open(&self) -> Result<(), LookupError> {
        // Relaxed: a look-up that races with a shutdown may succeed or fail.
        if self.closed.load(Ordering::Relaxed) {
            Err(LookupError::Shutdown)
        } else {
            Ok(())
        }
    }
}
