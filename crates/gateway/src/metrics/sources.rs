//! What the instruments observe.

use std::sync::Arc;

use tracer_registry::TracerRegistry;

#[cfg(feature = "jetstream")]
use crate::cluster::Cluster;
use crate::counters::Counters;
use crate::running::Current;

/// What a gateway's instruments observe.
pub(crate) struct Sources {
    pub(crate) registry: TracerRegistry,
    pub(crate) current: Arc<Current>,
    pub(crate) counters: Arc<Counters>,
    #[cfg(feature = "jetstream")]
    pub(crate) cluster: Arc<Cluster>,
}
