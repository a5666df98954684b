//! What look-ups find and reloads change: the bindings, and the tracers that were made of them.
//!
//! The thread that watches files holds this and no more: so the last handle of a registry always ends it on its own thread, and what is queued
//! is delivered before that goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LookupError;
use super::bindings::Bindings;
use super::pool::Pool;
use super::reload::Reloads;
use super::shared_projects::SharedProjects;
#[cfg(feature = "watch")]
use super::watching::Watching;
use crate::util::fork::ForkGuard;

pub(super) struct Live {
    pub(super) bindings: Bindings,
    pub(super) pool: Arc<Pool>,
    pub(super) reloads: Reloads,
    pub(super) projects: SharedProjects,
    pub(super) closed: AtomicBool,
    pub(super) home: ForkGuard,
    #[cfg(feature = "watch")]
    pub(super) watch: Watching,
}

impl Live {
    pub(super) fn check_open(&self) -> Result<(), LookupError> {
        // Relaxed: a look-up at the moment of the shutdown may fall on either side of it.
        if self.closed.load(Ordering::Relaxed) {
            Err(LookupError::Shutdown)
        } else {
            Ok(())
        }
    }
}
