//! What all requests to the admin listener share.

use std::sync::Arc;
use std::time::Duration;

use tracer_registry::TracerRegistry;

use super::permits::Permits;
use crate::log::Log;
use crate::running::Current;

/// The admin listener.
pub(crate) struct Admin {
    pub(super) registry: TracerRegistry,
    pub(super) current: Arc<Current>,
    pub(super) log: Arc<Log>,
    /// Work that visits all tenants or reads a file.
    pub(super) pass: Permits,
    /// Work that may wait for a source of keys or for a receiver.
    pub(super) slow: Permits,
}

impl Admin {
    /// Most connections, beside those of the other listeners.
    pub(crate) const MAX_CONNECTIONS: usize = 64;
    /// Time after which an idle connection is closed, if `gateway.idle_timeout` is not shorter.
    pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

    pub(crate) fn new(registry: TracerRegistry, current: Arc<Current>, log: Arc<Log>) -> Self {
        Self {
            registry,
            current,
            log,
            pass: Permits::new(),
            slow: Permits::new(),
        }
    }
}
