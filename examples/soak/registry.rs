//! The registry under test, which may be restarted with its data on disk.

use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracer_registry::config::{BackendName, Binding, Export, Retry, Spool, SpoolMode};
use tracer_registry::secret::SecretError;
use tracer_registry::{KeySource, TracerHandle, TracerRegistry};

use crate::Result;
use crate::options::{Options, key_of, name_of};
use crate::watch::Watch;

/// Limit of the files.
pub(crate) const MAX_DISK: usize = 256 << 20;
/// Time limit of a shutdown before a restart: what is not sent by then stays on disk.
const STOP: Duration = Duration::from_secs(2);
/// Time for the registry before to close its files.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(30);

/// A registry with a tracer of each tenant.
pub(crate) struct Current {
    pub(crate) registry: TracerRegistry,
    pub(crate) tracers: Vec<TracerHandle>,
}

impl Current {
    pub(crate) fn start(options: &Options, url: &str, spool: Spool) -> Result<Self> {
        let registry = registry(url, spool)?;
        let tracers = (0..options.tenants).map(|tenant| registry.tenant(&name_of(tenant)));
        Ok(Self {
            tracers: tracers.collect::<std::result::Result<_, _>>()?,
            registry,
        })
    }
}

/// Returns the settings of the n-th registry in a folder.
pub(crate) fn spool(folder: &Path, number: u64) -> Spool {
    Spool {
        mode: Some(if number.is_multiple_of(2) {
            SpoolMode::Through
        } else {
            SpoolMode::Overflow
        }),
        path: Some(folder.join("spool")),
        max_bytes: Some(MAX_DISK),
        // On a busy machine, the registry before may still write.
        wait_for_lock: Some(WAIT_FOR_LOCK),
        ..Spool::default()
    }
}

/// Runs the registry until the time is over, with a restart now and then. The load waits meanwhile.
pub(crate) fn run_with_restarts(
    options: &Options,
    url: &str,
    folder: &Path,
    every: Duration,
    current: &RwLock<Current>,
    watch: &mut Watch,
) -> Result<()> {
    let registry = || {
        let current = current.read().unwrap_or_else(PoisonError::into_inner);
        current.registry.clone()
    };
    for number in 1.. {
        if !watch.run(&registry(), Some(Instant::now() + every)) {
            break;
        }
        let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
        let report = current.registry.shutdown(STOP);
        watch.end(&current.registry, report.pending());
        // The tracers and all clones are dropped, so the files are closed.
        *current = Current::start(options, url, spool(folder, number))?;
    }
    Ok(())
}

/// Waits until nothing is on disk any more.
pub(crate) fn wait_for_disk(registry: &TracerRegistry, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    let rows = || registry.status().spool.map_or(0, |spool| spool.rows);
    while rows() > 0 && Instant::now() < deadline {
        // The flush ends the pauses before what could not be sent is tried again. Its result is in
        // the ledgers.
        drop(registry.force_flush(Duration::from_secs(1)));
    }
}

/// Retries end soon, so that a few minutes cover every outcome.
fn registry(url: &str, spool: Spool) -> Result<TracerRegistry> {
    let registry = TracerRegistry::builder()
        .secret_source("soak", |name: &str| Ok::<_, SecretError>(key_of(name).into()))
        .defaults(
            Binding::new()
                .backend(BackendName::Honeyhive)
                .endpoint(url)
                .source("soak"),
        )
        .tenant("*", Binding::new().api_key(KeySource::provider("soak", "{tenant}")))
        .export(Export {
            max_queue_size: Some(2048),
            timeout: Some(Duration::from_secs(2)),
            retry: Retry {
                initial_backoff: Some(Duration::from_millis(200)),
                max_backoff: Some(Duration::from_secs(2)),
                max_elapsed: Some(Duration::from_secs(8)),
                ..Retry::default()
            },
            ..Export::default()
        })
        .spool(spool)
        .build()?;
    Ok(registry)
}
