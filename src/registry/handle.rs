//! The registry itself.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::binding_cache::{Ageing, Flights};
use super::builder::RegistryBuilder;
use super::error::{BuildError, LookupError};
use super::state::Live;
use super::status::{self, CheckMode, CheckedBinding, Status};
use super::weak::{DefaultRoute, Unrouted};
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
/// [`shutdown`](Self::shutdown), what is queued is delivered for up to `export.drop_timeout`, and what remains is told in one log line.
#[derive(Clone)]
pub struct TracerRegistry(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) live: Arc<Live>,
    pub(crate) reader: KeyReader,
    pub(crate) fingerprinter: Fingerprinter,
    pub(crate) engine: Engine,
    pub(crate) destinations: Destinations,
    pub(crate) books: Arc<Accounting>,
    pub(crate) default_route: DefaultRoute,
    pub(crate) unrouted: Arc<Unrouted>,
    /// Asynchronous look-ups of tracers that are not there, by the generation of the bindings that they began in.
    pub(crate) flights: Flights<(Selector, u64), Result<TracerHandle, LookupError>>,
    pub(crate) ageing: OnceLock<Ageing>,
}

impl TracerRegistry {
    /// Reads the configuration from a file or a folder ([`Config::load`]) and starts the export threads (none with `export.mode = "inline"`). Reads no key.
    ///
    /// # Errors
    /// [`BuildError::Config`] with every fault of the configuration; nothing was started.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::builder().config(Config::load(path)?).build()
    }

    /// A registry built in code: bindings without files, the program's own secret sources.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// How all tracers are doing. In a fork of the process that made the registry, nothing.
    pub fn status(&self) -> Status {
        if self.0.engine.is_forked() {
            return Status::default();
        }
        let (accounts, evicted) = self.0.books.all();
        Status {
            unrouted: self.0.unrouted.status(),
            stale_scope_spans: self.0.engine.boundary().stale_scope_spans(),
            propagation: self.0.engine.boundary().propagation(),
            ..status::of(
                self.0.live.configuration_status(),
                &accounts,
                &evicted,
                self.0.live.pool.status(),
            )
        }
    }

    /// Takes the tracer of a selector out of the pool, so that the next look-up makes a new one, with its key read anew. Nothing is lost:
    /// the handles, sessions and spans that there are go on with the old one, which is sent when the last of them is gone. Gives
    /// whether there was one. Dedicated tracers are not concerned. In a fork of the process that made the registry nothing is done.
    ///
    /// # Errors
    /// [`SelectorError`] for what is no selector.
    pub fn remove<S>(&self, selector: S) -> Result<bool, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let removed = !self.0.engine.is_forked() && self.0.live.pool.take_out(&selector);
        if removed {
            // Afterwards: who begins to make the next one from here on reads its key anew, and nobody joins who began before.
            self.0.live.bindings.note_change();
        }
        Ok(removed)
    }

    /// What tells this registry's tracers from those of others.
    #[cfg(feature = "tracing")]
    pub(crate) fn engine_mark(&self) -> EngineMark {
        self.0.engine.mark()
    }

    /// What the configuration is; a reload does not change what was given here.
    pub fn config(&self) -> Arc<Config> {
        self.0.live.bindings.config()
    }

    /// Tries every binding of the configuration, and those of all files in `tenants_dir`: whether its key can be read, where it would send, and, where asked, whether the endpoint
    /// takes the key. Makes no tracer. Blocks the thread, for up to `export.timeout` where endpoints are asked.
    pub fn check(&self, probe: CheckMode) -> Vec<CheckedBinding> {
        status::check(&self.0, probe)
    }
}

impl fmt::Debug for TracerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TracerRegistry");
        // In a fork, whatever is locked now may stay so.
        if !self.0.engine.is_forked() {
            shown.field("tracers", &self.0.live.pool.len());
        }
        shown.finish_non_exhaustive()
    }
}
