//! A running gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracer_registry::config::Config;
use tracer_registry::error::ReloadError;
use tracer_registry::report::{Reload, Report};
use tracer_registry::secret::SecretSources;
use tracer_registry::{BuildError, RegistryBuilder, TracerRegistry};

use crate::admin::Admin;
use crate::callers::CallerSnapshot;
use crate::cluster::Cluster;
use crate::config::Settings;
use crate::counters::{Counters, GatewayStatus};
use crate::ingest::{DecodeThread, Ingest};
use crate::log::Log;
use crate::metrics::{Scrape, Sources, Telemetry};
use crate::running::Current;
use crate::server::{self, Handler, Server};

/// Threads that serve connections. With the thread for large messages and those of the export
/// engine, a gateway has five.
const WORKERS: usize = 2;
/// Polls of tasks after which a busy thread looks for connections that have become ready.
const EVENT_INTERVAL: u32 = 8;
/// Threads for look-ups that read a key. They end when they have nothing to do.
const LOOK_UP_THREADS: usize = 16;
/// Longest time for the last request of telemetry.
const TELEMETRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval for reading certificates again.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(60);

/// A gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is invalid, or the registry cannot start.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Telemetry cannot be sent.
    #[error("gateway.telemetry: {0}")]
    Telemetry(String),
    /// A thread cannot be started.
    #[error("cannot start the threads of the gateway")]
    Threads(#[source] io::Error),
}

/// A running gateway. Dropping it closes all connections at once; use [`shutdown`](Self::shutdown).
pub struct Gateway {
    /// Taken when the gateway is dropped.
    runtime: Option<Runtime>,
    registry: TracerRegistry,
    ingest: Arc<Ingest>,
    current: Arc<Current>,
    server: Arc<Server>,
    cluster: Arc<Cluster>,
    stop: watch::Sender<bool>,
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    /// Taken when the gateway stops.
    telemetry: Option<Telemetry>,
}

/// Result of a shutdown.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// What each tenant's lane delivered and lost.
    pub registry: Report,
    /// Connections with a request that was cut off. Its client got no success.
    pub cut_off: usize,
}

impl ShutdownReport {
    /// Returns whether every accepted span was delivered.
    pub fn is_complete(&self) -> bool {
        self.registry.is_complete()
    }
}

impl Gateway {
    /// Starts a gateway: reads the callers' tokens, starts the registry and listens.
    ///
    /// # Errors
    /// [`StartError`] if the configuration has a fault or an address cannot be bound. Nothing keeps
    /// running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, |registry| registry)
    }

    /// Starts a gateway with a registry that `complete` adds to. Unstable.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    #[doc(hidden)]
    pub fn start_with(
        config: Config,
        complete: impl FnOnce(RegistryBuilder) -> RegistryBuilder,
    ) -> Result<Self, StartError> {
        let current = Arc::new(Current::new(SecretSources::default()));
        let prepared = Arc::clone(&current);
        let cluster = Arc::<Cluster>::default();
        let registry = TracerRegistry::builder();
        #[cfg(feature = "jetstream")]
        let registry = crate::stream::add(registry, &config, &cluster).map_err(BuildError::from)?;
        let registry = registry
            .config(config)
            .reload_extension(move |config| prepared.prepare(config));
        let registry = complete(registry).build()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .event_interval(EVENT_INTERVAL)
            .max_blocking_threads(LOOK_UP_THREADS)
            .thread_name("gateway")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        cluster.start(&registry, runtime.handle());
        let decode = DecodeThread::start().map_err(StartError::Threads)?;
        let (counters, log) = (Arc::<Counters>::default(), Arc::<Log>::default());
        let ingest = Arc::new(Ingest::new(
            registry.clone(),
            Arc::clone(&current),
            decode,
            Arc::clone(&counters),
            Arc::clone(&log),
            Arc::clone(&cluster),
        ));
        let server = Arc::new(Server {
            handler: Handler::Ingest(Arc::clone(&ingest)),
            current: Arc::clone(&current),
            counters,
            log,
            of_heads: Arc::default(),
            turns: Semaphore::new(1),
        });
        let mut gateway = Self {
            runtime: Some(runtime),
            registry,
            ingest,
            current,
            server,
            cluster,
            stop: watch::Sender::new(false),
            http: None,
            grpc: None,
            admin: None,
            telemetry: None,
        };
        let running = gateway.current.running();
        let Settings { http, grpc, admin, .. } = &running.settings;
        let listen = |address: &SocketAddr| gateway.listen(*address, &gateway.server);
        let (http, grpc) = (
            http.as_ref().map(listen).transpose()?,
            grpc.as_ref().map(listen).transpose()?,
        );
        let admin = admin
            .as_ref()
            .map(|admin| gateway.listen(admin.listen, &gateway.admin_server()));
        (gateway.http, gateway.grpc, gateway.admin) = (http, grpc, admin.transpose()?);
        gateway.telemetry = gateway.start_telemetry()?;
        gateway.renew_certificates();
        Ok(gateway)
    }

    /// Returns the address of the listener for HTTP, with the port that the system chose for 0.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Returns the address of the listener for gRPC.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Returns the address of the admin listener.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns the registry.
    pub fn registry(&self) -> &TracerRegistry {
        &self.registry
    }

    /// Returns counts and what is in progress.
    pub fn status(&self) -> GatewayStatus {
        self.ingest.status()
    }

    /// Returns the counts of each caller.
    pub fn callers(&self) -> Vec<CallerSnapshot> {
        self.current.running().callers.snapshot()
    }

    /// Returns the running settings.
    pub fn settings(&self) -> Settings {
        self.current.running().settings.clone()
    }

    /// Reads the configuration, callers and certificates again, and applies them as a whole. Blocks
    /// the thread. Requests in progress end with the settings of their start.
    ///
    /// # Errors
    /// [`ReloadError`] with every fault. Nothing changes.
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        self.registry.reload()
    }

    /// Stops within about `timeout`: answers 503 on `/readyz`, accepts no connection, ends those it
    /// has after their requests, and delivers what is queued. Requests get at most half of the
    /// time. Blocks the thread; must not be called from async code.
    pub fn shutdown(mut self, timeout: Duration) -> ShutdownReport {
        let deadline = std::time::Instant::now() + timeout;
        self.ingest.set_not_ready();
        self.registry
            .record_change("not_ready", "the gateway is shutting down".to_owned());
        self.stop.send_replace(true);
        // Listeners and connections hold a receiver until they end.
        let ended = self.stop.closed();
        let ended = self
            .runtime()
            .block_on(async { tokio::time::timeout(timeout / 2, ended).await });
        let cut_off = if ended.is_ok() { 0 } else { self.server.counters.open() };
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let registry = self.registry.shutdown(left);
        if let Some(telemetry) = self.telemetry.take() {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            telemetry.stop(left.min(TELEMETRY_TIMEOUT));
        }
        ShutdownReport { registry, cut_off }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("taken only when the gateway is dropped")
    }

    /// Returns the server of the admin listener. Nothing that its clients use up is missing to those
    /// of the other listeners, nor the other way round.
    fn admin_server(&self) -> Arc<Server> {
        let log = Arc::<Log>::default();
        let (current, stop) = (Arc::clone(&self.current), self.stop.clone());
        let scrape = Scrape::start(&self.sources());
        let cluster = Arc::clone(&self.cluster);
        let admin = Arc::new(Admin::new(
            Arc::clone(&self.ingest),
            current,
            Arc::clone(&log),
            scrape,
            cluster,
            stop,
        ));
        self.runtime().spawn(Arc::clone(&admin).keep_history());
        Arc::new(Server {
            handler: Handler::Admin(admin),
            current: Arc::clone(&self.current),
            counters: Arc::default(),
            log,
            of_heads: Arc::default(),
            turns: Semaphore::new(1),
        })
    }

    /// Returns what the instruments observe.
    fn sources(&self) -> Sources {
        Sources {
            registry: self.registry.clone(),
            current: Arc::clone(&self.current),
            counters: Arc::clone(&self.server.counters),
            #[cfg(feature = "jetstream")]
            cluster: Arc::clone(&self.cluster),
        }
    }

    fn start_telemetry(&self) -> Result<Option<Telemetry>, StartError> {
        let running = self.current.running();
        let Some(settings) = &running.settings.telemetry else {
            return Ok(None);
        };
        let (token, runtime) = (running.telemetry_token.clone(), self.runtime().handle().clone());
        let telemetry = Telemetry::start(&self.sources(), settings, token, runtime);
        telemetry
            .map(Some)
            .map_err(|error| StartError::Telemetry(error.to_string()))
    }

    fn listen(&self, address: SocketAddr, server: &Arc<Server>) -> Result<SocketAddr, StartError> {
        let _context = self.runtime().enter();
        let (listener, bound) = server::bind(address).map_err(|source| StartError::Listen { address, source })?;
        tokio::spawn(server::accept(listener, Arc::clone(server), self.stop.subscribe()));
        Ok(bound)
    }

    /// Reads certificates again from time to time: some tools replace them without a signal.
    fn renew_certificates(&self) {
        let (current, log) = (Arc::clone(&self.current), Arc::clone(&self.server.log));
        let registry = self.registry.clone();
        self.runtime().spawn(async move {
            let mut ticks = interval_at(Instant::now() + CERTIFICATE_INTERVAL, CERTIFICATE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if current.running().settings.tls.is_none() {
                    continue;
                }
                let (current, log) = (Arc::clone(&current), Arc::clone(&log));
                let renewed = tokio::task::spawn_blocking(move || current.renew_certificates(&log)).await;
                if let Ok(Some(detail)) = renewed {
                    registry.record_change("certificates", detail);
                }
            }
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.cluster.end();
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so that a gateway can be dropped in async code.
            runtime.shutdown_background();
        }
    }
}
