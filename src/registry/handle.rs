//! The public registry handle.

use std::fmt;
use std::sync::{Arc, Weak};

use super::binding_cache::SingleFlight;
use super::default_route::DefaultRoute;
use super::error::LookupError;
#[cfg(feature = "redact")]
use super::redactors::Redactors;
#[cfg(feature = "spool")]
use super::spool::OpenSpool;
use super::state::RegistryState;
use super::unrouted::Unrouted;
use crate::backend::DestinationCache;
use crate::config::Config;
#[cfg(feature = "gateway")]
use crate::config::Quota;
#[cfg(feature = "tracing")]
use crate::export::EngineMark;
use crate::export::{Accounting, ChangeKind, Engine};
#[cfg(feature = "gateway")]
use crate::policy::quota::Limiter;
#[cfg(feature = "redact")]
use crate::policy::redaction::SharedRules;
use crate::secret::{Fingerprinter, KeyReader};
#[cfg(feature = "gateway")]
use crate::selector::Slug;
use crate::selector::{Selector, SelectorError};
use crate::tracer::TracerHandle;

/// A registry of isolated tracers by tenant, environment and feature. The first look-up of a
/// selector creates its tracer and adds it to the pool. The pool evicts idle tracers, after
/// `pool.idle_timeout` or when it needs a slot.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`: create one at start-up and keep it.
/// Dropping the last clone without [`shutdown`](Self::shutdown) waits up to `export.drop_timeout`
/// for the delivery of queued data, and logs one line if data is lost.
#[derive(Clone)]
pub struct TracerRegistry(pub(super) Arc<Inner>);

pub(crate) struct Inner {
    /// The registry itself, for work that must not keep it alive.
    pub(super) weak: Weak<Self>,
    pub(super) state: Arc<RegistryState>,
    pub(super) reader: KeyReader,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) engine: Engine,
    pub(super) destinations: DestinationCache,
    #[cfg(feature = "redact")]
    pub(super) redact_rules: SharedRules,
    pub(super) accounting: Arc<Accounting>,
    pub(super) default_route: DefaultRoute,
    pub(super) unrouted: Arc<Unrouted>,
    /// Asynchronous look-ups in progress, by selector and by the generation of the bindings in
    /// which they began.
    /// `None` if nothing goes to disk.
    #[cfg(feature = "spool")]
    pub(super) spool: Option<Arc<OpenSpool>>,
    /// What the program removes from data.
    #[cfg(feature = "redact")]
    pub(super) redactors: Redactors,
    pub(super) look_ups: SingleFlight<(Selector, u64), Result<TracerHandle, LookupError>>,
}

impl TracerRegistry {
    /// Removes the tracer of a selector from the pool. Returns whether the pool had one.
    ///
    /// The next look-up creates a new tracer and reads its key again. The removed tracer keeps
    /// working for existing handles, sessions and spans, and loses no data: when the last of them
    /// is dropped, it sends the rest. Dedicated tracers are not affected. Does nothing in a forked
    /// child of the registry's process.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn remove<S>(&self, selector: S) -> Result<bool, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let removed = !self.0.engine.is_forked() && self.0.state.pool.remove(&selector);
        if removed {
            // After the removal, so that a later look-up reads the key again instead of joining
            // one that began before.
            self.0.state.bindings.note_change();
            self.0.state.copies.note_change();
            self.note_action(ChangeKind::Removed, &selector);
            #[cfg(feature = "spool")]
            if let Some(ledger) = self.0.accounting.find(&selector) {
                // The next tracer sends what is on disk, with the key that it reads.
                ledger.stop_loads();
                self.0.engine.load(&ledger);
            }
        }
        Ok(removed)
    }

    /// Returns the current configuration. A later reload does not change the returned value.
    pub fn config(&self) -> Arc<Config> {
        self.0.state.bindings.config()
    }

    /// Returns the mark that identifies the tracers of this registry.
    #[cfg(feature = "tracing")]
    pub(crate) fn engine_mark(&self) -> EngineMark {
        self.0.engine.mark()
    }

    /// Returns whether the registry takes new data.
    #[cfg(feature = "gateway")]
    pub(crate) fn is_open(&self) -> bool {
        self.0.state.check_open().is_ok()
    }

    /// Returns the limiter of a caller of the gateway, or `None` if its quota has no limit. What the
    /// caller has used is kept by its name.
    #[cfg(feature = "gateway")]
    pub fn caller_limiter(&self, caller: &Slug, quota: &Quota) -> Option<Arc<Limiter>> {
        self.0.state.quotas.of_caller(caller, quota)
    }

    /// Divides all quotas among this many replicas: what this one takes counts for all of them, from
    /// now on. Unstable.
    #[cfg(feature = "gateway")]
    #[doc(hidden)]
    pub fn share_quotas(&self, replicas: u32) {
        self.0.state.quotas.share_among(replicas);
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
