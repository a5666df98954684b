//! The engine: deadlines, and dispatch of events to lanes.
//!
//! A lane sends an event when its first span arrives and when it has a full batch. The engine keeps
//! the deadlines of timed lanes in one queue, because the delay is the same for all, and starts a
//! task per lane with due spans. Work is proportional to the lanes that send, not to the lanes that
//! exist.
//!
//! The engine has its own threads ([`Driver`]): it works inside and outside of tokio, with a
//! blocked current-thread runtime, and while a program ends. They run with telemetry suppressed, so
//! that an instrumented HTTP client creates no spans for sending spans.
//!
//! With `export.mode = "inline"` there are neither threads nor deadlines. A lane sends events only
//! when it is flushed.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use super::accounting::selector_ledger::SelectorLedger;
use super::keys::key_store::KeyStore;
use super::lane::{Lane, LaneParts};
use super::log::budget::LineBudget;
use super::log::changes::{ChangeKind, ChangeLog, Problem};
use super::log::episode::Episode;
use super::net::connections::{ConnectionKey, Connections};
use super::net::tls::TlsError;
use super::net::transport::Transport;
use super::schedule::driver::Driver;
use super::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, SessionSender, address};
#[cfg(feature = "tracing")]
use super::shared::EngineMark;
use super::shared::Shared;
#[cfg(feature = "spool")]
use super::spool::{Spool, load};
use crate::config::{ExportMode, ExportSettings};
use crate::context::Boundary;
use crate::secret::{Fingerprinter, KeyReader};
#[cfg(feature = "metrics")]
use crate::util::fork::ForkGuard;
use crate::util::system_error::SystemError;

/// Under memory pressure, lanes with `max_queue_bytes` divided by this send early, once per
/// [`RELIEF_PAUSE`].
const RELIEF_DIVISOR: usize = 16;
const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The engine of one registry. Dropping it ends its threads without waiting for them.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// Error of starting the export engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The export threads could not be started.
    #[error("cannot start the export threads: {0}")]
    Threads(SystemError),
}

impl Engine {
    pub(crate) fn start(
        settings: ExportSettings,
        reader: KeyReader,
        fingerprinter: Fingerprinter,
        #[cfg(feature = "spool")] spool: Option<Arc<Spool>>,
    ) -> Result<Self, EngineError> {
        let driver = match settings.mode {
            ExportMode::Background => Driver::background(),
            ExportMode::Inline => Driver::inline(),
        };
        let driver = driver.map_err(|error| EngineError::Threads(error.into()))?;
        let transport = Transport::new(settings.timeout, settings.protocol, reader.has_strict_permissions());
        let keys = KeyStore::new(reader, fingerprinter, &settings, driver.handle());
        let (shared, events_rx) = Shared::new(
            settings,
            transport,
            driver,
            keys,
            #[cfg(feature = "spool")]
            spool,
        );
        let tasks = Arc::clone(&shared);
        match shared.settings.mode {
            ExportMode::Background => shared.driver.spawn(dispatch(events_rx, tasks)),
            ExportMode::Inline => shared.driver.spawn(dispatch_flushes(events_rx)),
        }
        Ok(Self { shared })
    }

    /// Returns the connections for a key, shared with other lanes. Does not connect.
    ///
    /// # Errors
    /// [`TlsError`] if a certificate cannot be used.
    pub(crate) fn connections(&self, key: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        self.shared.transport.connections(key)
    }

    /// Opens a lane and adds it to its selector's ledger. Only data of tracers in the pool goes to
    /// disk.
    pub(crate) fn open_lane(
        &self,
        ledger: &Arc<SelectorLedger>,
        parts: LaneParts,
        #[cfg_attr(not(feature = "spool"), expect(unused_variables, reason = "nothing goes to disk"))] is_pooled: bool,
    ) -> Arc<Lane> {
        let lane = Lane::new(
            parts,
            Arc::clone(&self.shared),
            ledger,
            #[cfg(feature = "spool")]
            self.shared.spool().filter(|_| is_pooled).cloned(),
        );
        ledger.open(Arc::clone(&lane) as _);
        #[cfg(feature = "spool")]
        load::wake(&self.shared, ledger);
        lane
    }

    /// Loads what a selector has on disk, as far as its tracer may. Finds a tracer if it has none.
    #[cfg(feature = "spool")]
    pub(crate) fn load(&self, ledger: &Arc<SelectorLedger>) {
        load::wake(&self.shared, ledger);
    }

    /// Returns the isolation boundary of the registry's tracers.
    pub(crate) fn boundary(&self) -> &Arc<Boundary> {
        &self.shared.boundary
    }

    /// Returns the keys of all lanes.
    pub(crate) fn keys(&self) -> &Arc<KeyStore> {
        &self.shared.keys
    }

    /// Spawns a task on the engine's driver. It is cancelled when the engine ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.driver.spawn(task);
    }

    /// Makes lanes refuse and count new data.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// Ends the threads without waiting. Work in progress is lost, so complete or abandon all lanes
    /// before.
    pub(crate) fn stop(&self) {
        // Threads that read keys are not joined, so end their commands.
        self.shared.keys.give_up();
        self.shared.driver.stop();
    }

    /// Returns whether this process is a fork of the one that started the engine. In a fork, no
    /// task runs, and held locks are never released.
    pub(crate) fn is_forked(&self) -> bool {
        self.shared.is_forked()
    }

    /// Records the durations of requests with a meter from now on.
    #[cfg(feature = "metrics")]
    pub(crate) fn observe_durations(&self, meter: &opentelemetry::metrics::Meter) {
        self.shared.durations.observe(meter);
    }

    /// Returns the guard of the process that started the engine.
    #[cfg(feature = "metrics")]
    pub(crate) fn fork_guard(&self) -> ForkGuard {
        self.shared.fork_guard
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn mark(&self) -> EngineMark {
        EngineMark::of(&self.shared)
    }

    /// Returns the registry's limit on log lines.
    pub(crate) fn lines(&self) -> &Arc<LineBudget> {
        &self.shared.lines
    }

    /// Returns the registry's last changes.
    pub(crate) fn changes(&self) -> &Arc<ChangeLog> {
        &self.shared.changes
    }

    /// Returns whether tracers have reserved more than three quarters of their memory.
    pub(crate) fn is_under_pressure(&self) -> bool {
        self.shared.budget.is_under_pressure()
    }

    pub(crate) fn settings(&self) -> &ExportSettings {
        &self.shared.settings
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_forked() {
            // Leak it: dropping would wait for threads that do not exist here, and close the
            // parent's epoll descriptor.
            mem::forget(Arc::clone(&self.shared));
        } else {
            self.stop();
        }
    }
}

/// Handles events and deadlines: starts the lanes that have due spans.
///
/// Under memory pressure, starts the lanes that have waited longest early, some at a time.
async fn dispatch(mut events_rx: UnboundedReceiver<EngineEvent>, shared: Arc<Shared>) {
    let mut timed: VecDeque<(Instant, Weak<dyn ScheduledLane>)> = VecDeque::new();
    let mut relief: Option<Instant> = None;
    let mut pressure = Pressure::default();
    loop {
        let deadline = timed.front().map(|(deadline, _)| *deadline);
        let next = match [deadline, relief].into_iter().flatten().min() {
            Some(deadline) => timeout_at(deadline, events_rx.recv()).await,
            None => Ok(events_rx.recv().await),
        };
        match next {
            Ok(Some(EngineEvent::Timed(lane))) => {
                let due = Instant::now() + shared.settings.scheduled_delay;
                // Weak, so that a deadline does not keep a retired lane alive.
                timed.push_back((due, Arc::downgrade(&lane)));
            }
            Ok(Some(EngineEvent::Ready(lane))) => {
                lane.send_due(Cause::Ready);
            }
            Ok(Some(EngineEvent::Session(queue))) => queue.send_all(),
            Ok(Some(EngineEvent::Log(lane))) => {
                tokio::spawn(async move { lane.log_pending() });
            }
            Ok(Some(EngineEvent::MemoryPressure)) => {
                relief = Some(Instant::now());
                pressure.begin(&shared.changes);
            }
            Ok(None) => return,
            Ok(Some(EngineEvent::Flush(_))) | Err(_) => {}
        }
        let now = Instant::now();
        while timed.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some(lane) = timed.pop_front().and_then(|(_, lane)| lane.upgrade()) {
                lane.send_due(Cause::Deadline(now.into_std()));
            }
        }
        if relief.is_some_and(|at| at <= now) {
            relief = shared.budget.is_under_pressure().then(|| now + RELIEF_PAUSE);
            let mut wanted = shared.settings.max_queue_bytes / RELIEF_DIVISOR;
            while relief.is_some() && wanted > 0 {
                let Some((_, lane)) = timed.pop_front() else { break };
                let bytes = lane.upgrade().and_then(|lane| lane.send_due(Cause::Memory));
                wanted = wanted.saturating_sub(bytes.unwrap_or(0));
            }
            if relief.is_none() {
                shared.clear_memory_pressure();
                pressure.end(&shared.changes);
            }
        }
    }
}

/// Records memory pressure. It has no log line, because the data that it drops has one.
struct Pressure {
    episode: Episode,
    no_lines: LineBudget,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            episode: Episode::default(),
            no_lines: LineBudget::new(0),
        }
    }
}

impl Pressure {
    fn begin(&mut self, changes: &ChangeLog) {
        let now = std::time::Instant::now();
        self.episode.note(1, now);
        if self.episode.begin(now, &self.no_lines).is_some() {
            changes.record(ChangeKind::ProblemBegan(Problem::MemoryPressure), None, None, None);
        }
    }

    fn end(&mut self, changes: &ChangeLog) {
        if self.episode.end().is_some() {
            changes.record(ChangeKind::ProblemEnded(Problem::MemoryPressure), None, None, None);
        }
    }
}

/// Handles events in inline mode: session events wait until their lane is flushed.
async fn dispatch_flushes(mut events_rx: UnboundedReceiver<EngineEvent>) {
    // By lane address. A queue keeps its lane alive, so addresses are unique.
    let mut queues: HashMap<usize, Vec<Arc<dyn SessionSender>>> = HashMap::new();
    while let Some(event) = events_rx.recv().await {
        match event {
            EngineEvent::Session(queue) => queues.entry(queue.lane_address()).or_default().push(queue),
            EngineEvent::Flush(lane) => {
                let waiting = queues.remove(&address(&lane)).unwrap_or_default();
                for queue in waiting {
                    queue.send_all();
                }
                lane.send_due(Cause::Ready);
            }
            EngineEvent::Log(lane) => lane.log_pending(),
            EngineEvent::Timed(_) | EngineEvent::Ready(_) | EngineEvent::MemoryPressure => {}
        }
    }
}
