//! What look-ups find and reloads change: the bindings, and the tracers that were made of them.
//!
//! The thread that watches files holds this and no more. So the last handle of a registry always ends it on its own thread, and what
//! is queued is delivered before that thread goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bindings::Bindings;
use super::error::LookupError;
use super::lookup::SharedProjects;
use super::pool::Pool;
use super::reload::Reloads;
#[cfg(feature = "watch")]
use super::reload::WatchedFiles;
use crate::util::fork::ForkGuard;

pub(crate) struct RegistryState {
    pub(crate) bindings: Bindings,
    pub(crate) pool: Arc<Pool>,
    pub(crate) reloads: Reloads,
    pub(crate) projects: SharedProjects,
    pub(crate) closed: AtomicBool,
    pub(crate) fork: ForkGuard,
    #[cfg(feature = "watch")]
    pub(crate) watched: WatchedFiles,
}

impl RegistryState {
    pub(crate) fn check_open(&self) -> Result<(), LookupError> {
        // Relaxed: a look-up at the moment of the shutdown may fall on either side of it.
        if self.closed.load(Ordering::Relaxed) {
            Err(LookupError::Shutdown)
        } else {
            Ok(())
        }
    }
}
