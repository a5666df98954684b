//! What the tasks of one store share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracer_registry_spool::Health;
use uuid::Uuid;

use crate::bindings::SharedBindings;
use crate::erase::Erased;
use crate::layout::names::Names;
use crate::options::StreamOptions;
use crate::status::{Counts, Link};

/// What the tasks of one store share.
pub(crate) struct Shared {
    pub(crate) options: StreamOptions,
    pub(crate) names: Names,
    /// This process, from its start to its end.
    pub(crate) process: Uuid,
    /// Bytes of appended rows without an answer.
    pub(crate) waiting_bytes: AtomicU64,
    /// Items, rows and bytes that this process holds as a sender: rows, spans, events, bytes.
    pub(crate) held: [AtomicU64; 4],
    pub(crate) health: Mutex<Health>,
    pub(crate) link: Mutex<Link>,
    pub(crate) counts: Counts,
    pub(crate) erased: Mutex<Erased>,
    pub(crate) bindings: Arc<SharedBindings>,
    /// Whether the streams and servers passed their checks. Until then nothing may be published or
    /// pulled, as if the servers were away.
    pub(crate) ready: watch::Sender<bool>,
}

impl Shared {
    /// Locks what was erased.
    pub(crate) fn erased(&self) -> MutexGuard<'_, Erased> {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what is known of the servers.
    pub(crate) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
