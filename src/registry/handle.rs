//! The registry itself.

use std::fmt;
use std::sync::Arc;

use super::binding_cache::SingleFlight;
use super::default_route::DefaultRoute;
use super::error::LookupError;
use super::state::RegistryState;
use super::unrouted::Unrouted;
use crate::backend::Destinations;
use crate::config::Config;
#[cfg(feature = "tracing")]
use crate::export::EngineMark;
use crate::export::{Accounting, Engine};
use crate::secret::{Fingerprinter, KeyReader};
use crate::selector::{Selector, SelectorError};
use crate::tracer::TracerHandle;

/// Tracers by tenant, environment and feature, each made on its first look-up, and kept until it is idle and its time or its place is up.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`; make one at start-up and keep it. When the last clone is dropped without
/// [`shutdown`](Self::shutdown), what is queued is delivered for up to `export.drop_timeout`, and what remains is reported in one log line.
#[derive(Clone)]
pub struct TracerRegistry(pub(super) Arc<Inner>);

pub(crate) struct Inner {
    pub(super) state: Arc<RegistryState>,
    pub(super) reader: KeyReader,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) engine: Engine,
    pub(super) destinations: Destinations,
    pub(super) books: Arc<Accounting>,
    pub(super) default_route: DefaultRoute,
    pub(super) unrouted: Arc<Unrouted>,
    /// Asynchronous look-ups of tracers that are not there, by the generation of the bindings in which they began.
    pub(super) look_ups: SingleFlight<(Selector, u64), Result<TracerHandle, LookupError>>,
}

impl TracerRegistry {
    /// Removes the tracer of a selector from the pool, so that the next look-up makes a new one, with its key read anew. Nothing is lost:
    /// handles, sessions and spans go on with the old one, which is sent when the last of them is gone. Returns whether there was one.
    /// Dedicated tracers stay. In a fork of the process that made the registry nothing is done.
    ///
    /// # Errors
    /// [`SelectorError`] for what is no selector.
    pub fn remove<S>(&self, selector: S) -> Result<bool, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let removed = !self.0.engine.is_forked() && self.0.state.pool.remove(&selector);
        if removed {
            // Afterwards: a look-up that begins from here on reads the key anew, and joins none that began before.
            self.0.state.bindings.note_change();
        }
        Ok(removed)
    }

    /// Returns the running configuration; a reload does not change what was returned here.
    pub fn config(&self) -> Arc<Config> {
        self.0.state.bindings.config()
    }

    /// What tells this registry's tracers from those of others.
    #[cfg(feature = "tracing")]
    pub(crate) fn engine_mark(&self) -> EngineMark {
        self.0.engine.mark()
    }

    pub(crate) fn unrouted(&self) -> &Arc<Unrouted> {
        &self.0.unrouted
    }
}

impl fmt::Debug for TracerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TracerRegistry");
        // After a fork, a lock that another thread held is never released.
        if !self.0.engine.is_forked() {
            shown.field("tracers", &self.0.state.pool.len());
        }
        shown.finish_non_exhaustive()
    }
}
