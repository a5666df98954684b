//! What a replica shares with the others by the stream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio::runtime::Handle;
use tracer_registry::{Selector, TracerRegistry};
#[cfg(feature = "jetstream")]
use tracer_registry_spool::Failing;
#[cfg(feature = "jetstream")]
use tracer_registry_stream::{Hooks, StreamStatus, StreamStore};

/// Keys that are read again at once, because of nudges. Further nudges are left out.
const MAX_NUDGES: usize = 16;

/// Connects the stream with the registry. Empty without a stream.
#[derive(Default)]
pub(crate) struct Cluster {
    /// Taken when the gateway ends: the registry owns the stream, which owns this.
    registry: Mutex<Option<TracerRegistry>>,
    runtime: OnceLock<Handle>,
    nudges: AtomicUsize,
    #[cfg(feature = "jetstream")]
    store: OnceLock<Arc<StreamStore>>,
}

impl Cluster {
    /// Gives the stream the registry.
    pub(crate) fn start(&self, registry: &TracerRegistry, runtime: &Handle) {
        // Set once.
        let _ = self.runtime.set(runtime.clone());
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = Some(registry.clone());
    }

    /// Takes the registry away from the stream.
    pub(crate) fn end(&self) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[cfg(feature = "jetstream")]
    fn registry(&self) -> Option<TracerRegistry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the ledger of all replicas. `None` without a stream. Blocks the thread.
    ///
    /// # Errors
    /// A message, if the servers do not answer.
    pub(crate) fn ledger(&self) -> Option<Result<Value, String>> {
        #[cfg(feature = "jetstream")]
        if let Some(store) = self.store.get() {
            let ledger = store.cluster().map_err(no_answer);
            return Some(ledger.map(|ledger| serde_json::to_value(ledger).unwrap_or_default()));
        }
        None
    }

    /// Returns the state of this replica's stream. `None` without a stream.
    pub(crate) fn stream(&self) -> Option<Value> {
        #[cfg(feature = "jetstream")]
        if let Some(status) = self.status() {
            return Some(serde_json::to_value(status).unwrap_or_default());
        }
        None
    }

    /// Whether data can be stored now. True without a stream, where that is not known in advance.
    pub(crate) fn can_store(&self) -> bool {
        #[cfg(feature = "jetstream")]
        if let Some(status) = self.status() {
            return status.can_store;
        }
        true
    }

    /// Makes all replicas read the key of a selector again. `None` without a stream. Blocks the
    /// thread.
    ///
    /// # Errors
    /// A message, if the servers do not answer.
    pub(crate) fn nudge(&self, selector: &Selector) -> Option<Result<(), String>> {
        #[cfg(feature = "jetstream")]
        if let Some(store) = self.store.get() {
            return Some(store.nudge(&selector.to_string()).map_err(no_answer));
        }
        let _ = selector;
        None
    }
}

#[cfg(feature = "jetstream")]
fn no_answer(Failing { what, error }: Failing) -> String {
    format!("the NATS servers do not answer: {what}: {error}")
}

#[cfg(feature = "jetstream")]
impl Cluster {
    pub(crate) fn status(&self) -> Option<StreamStatus> {
        self.store.get().map(|store| store.status())
    }

    pub(crate) fn set_store(&self, store: Arc<StreamStore>) {
        let _ = self.store.set(store);
    }

    /// Returns the functions that the stream calls.
    pub(crate) fn hooks(self: &Arc<Self>) -> Hooks {
        let [of_ledger, of_quotas, of_nudges] = [0; 3].map(|_| Arc::clone(self));
        Hooks {
            ledger: Arc::new(move || {
                let totals = of_ledger.registry().map(|registry| registry.totals());
                serde_json::to_value(totals).unwrap_or_default()
            }),
            live_replicas: Arc::new(move |replicas| {
                if let Some(registry) = of_quotas.registry() {
                    registry.share_quotas(replicas);
                }
            }),
            nudged: Arc::new(move |selector| Self::nudged(&of_nudges, selector)),
        }
    }

    /// Reads the key of a selector again, if it has a tracer here.
    fn nudged(self: &Arc<Self>, selector: &str) {
        let (Ok(selector), Some(registry)) = (selector.parse::<Selector>(), self.registry()) else {
            return;
        };
        let (Some(runtime), Ok(Some(_))) = (self.runtime.get(), registry.tracer_status(selector.clone())) else {
            return;
        };
        if self.nudges.fetch_add(1, Ordering::Relaxed) >= MAX_NUDGES {
            self.nudges.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%selector, "a nudge was left out: {MAX_NUDGES} keys are being read");
            return;
        }
        let cluster = Arc::clone(self);
        runtime.spawn_blocking(move || {
            match registry.rotate(selector.clone()) {
                Ok(_) => tracing::info!(%selector, "a nudge: the key was read again"),
                Err(error) => tracing::warn!(%selector, "a nudge: the key was not read again: {error}"),
            }
            cluster.nudges.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
