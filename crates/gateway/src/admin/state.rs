//! What all requests to the admin listener share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval_at};
use tracer_registry::TracerRegistry;

use super::history::{History, MINUTE};
use super::permits::Permits;
use crate::cluster::Cluster;
use crate::ingest::Ingest;
use crate::log::Log;
use crate::metrics::Scrape;
use crate::running::Current;

/// Pieces of work of a kind that run at once, and requests that may wait for them.
const RUNNING: usize = 2;
const WAITING: usize = 16;
/// Streams of events that are open at once.
const STREAMS: usize = 8;

/// The admin listener.
pub(crate) struct Admin {
    pub(super) registry: TracerRegistry,
    pub(super) current: Arc<Current>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) log: Arc<Log>,
    pub(super) scrape: Scrape,
    pub(super) cluster: Arc<Cluster>,
    history: Mutex<History>,
    /// Work that visits all tenants or reads a file.
    pub(super) pass: Permits,
    /// Work that may wait for a source of keys.
    pub(super) slow: Permits,
    /// Flushes, which wait for a receiver.
    pub(super) flush: Permits,
    /// Metrics, which a weaker token may read.
    pub(super) metrics: Permits,
    /// Of streams of events.
    pub(super) streams: Arc<Semaphore>,
    /// Set when the gateway stops.
    pub(super) stop: watch::Sender<bool>,
}

impl Admin {
    /// Most connections, beside those of the other listeners.
    pub(crate) const MAX_CONNECTIONS: usize = 64;
    /// Time after which an idle connection is closed, if `gateway.idle_timeout` is not shorter.
    pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

    pub(crate) fn new(
        ingest: Arc<Ingest>,
        current: Arc<Current>,
        log: Arc<Log>,
        scrape: Scrape,
        cluster: Arc<Cluster>,
        stop: watch::Sender<bool>,
    ) -> Self {
        Self {
            registry: ingest.registry().clone(),
            current,
            ingest,
            log,
            scrape,
            cluster,
            history: Mutex::default(),
            pass: Permits::new(RUNNING, WAITING),
            slow: Permits::new(RUNNING, WAITING),
            flush: Permits::new(RUNNING, WAITING),
            metrics: Permits::new(1, 3),
            streams: Arc::new(Semaphore::new(STREAMS)),
            stop,
        }
    }

    /// Keeps the history of tenants until the gateway stops.
    pub(crate) async fn keep_history(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut minutes = interval_at(tokio::time::Instant::now() + MINUTE, MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = minutes.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let admin = Arc::clone(&self);
            // It visits all tenants. It ends with an error only if the gateway ends.
            let ended = tokio::task::spawn_blocking(move || {
                let counts = admin.registry.span_counts();
                admin.history().end_minute(counts, Instant::now());
            });
            drop(ended.await);
        }
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
