//! The status of data on disk, with and without the feature `spool`.

#[cfg(feature = "spool")]
use std::sync::{Arc, Weak};
use std::time::SystemTime;

#[cfg(feature = "spool")]
use super::open::OpenSpool;
use crate::registry::handle::Inner;
use crate::registry::status::SpoolStatus;

/// The spool of a registry, as its metrics see it. Does not keep it alive.
#[derive(Clone)]
pub(crate) struct SpoolView {
    #[cfg(feature = "spool")]
    spool: Weak<OpenSpool>,
}

impl SpoolView {
    /// Returns the status. `None` without a spool, or after the registry.
    pub(crate) fn status(&self) -> Option<SpoolStatus> {
        #[cfg(feature = "spool")]
        return Some(self.spool.upgrade()?.status());
        #[cfg(not(feature = "spool"))]
        None
    }
}

impl Inner {
    pub(crate) fn spool_view(&self) -> SpoolView {
        SpoolView {
            #[cfg(feature = "spool")]
            spool: self.spool.as_ref().map(Arc::downgrade).unwrap_or_default(),
        }
    }

    /// Returns the status, with the age of the oldest data on disk only. `None` without a spool.
    pub(crate) fn spool_status(&self, oldest: Option<SystemTime>) -> Option<SpoolStatus> {
        let status = self.spool_view().status();
        status.map(|status| SpoolStatus { oldest, ..status })
    }
}
