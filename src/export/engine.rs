//! The engine: deadlines, and who sends next.
//!
//! A lane sends an event when its first span arrives and when it has a full batch; the engine keeps the deadlines of timed lanes in one
//! queue, since the delay is the same for all, and starts a task per lane that has something to send. Work is proportional to lanes
//! with something to send, not to lanes that exist.
//!
//! The threads are the engine's own ([`Driver`]): it works in and out of tokio, in a current-thread runtime that stands still, and while a
//! program ends. They run with telemetry suppressed, so that an instrumented HTTP client makes no spans about sending spans.
//!
//! With `export.mode = "inline"` there are neither threads nor deadlines. A lane sends an event when it is flushed, and at no other time.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use super::accounting::selector_ledger::SelectorLedger;
use super::keys::key_store::KeyStore;
use super::keys::rotating_key::RotatingKey;
use super::lane::Lane;
use super::log::budget::LineBudget;
use super::net::connections::{ConnectionKey, Connections};
use super::net::tls::TlsError;
use super::net::transport::Transport;
use super::schedule::driver::Driver;
use super::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, SessionSender, address};
#[cfg(feature = "tracing")]
use super::shared::EngineMark;
use super::shared::Shared;
use crate::backend::Destination;
use crate::config::{ExportMode, ExportSettings};
use crate::context::Boundary;
use crate::secret::{Fingerprinter, KeyReader};
#[cfg(feature = "metrics")]
use crate::util::fork::ForkGuard;
use crate::util::system_error::SystemError;

/// What part of the memory for spans is sent before its time at once, where it is short, and after which time there is more of it.
const RELIEF_PART: usize = 16;
const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The engine of one registry. Dropped, it ends its threads without waiting for them.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// Why the engine could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The threads could not be started.
    #[error("the export threads cannot be started: {0}")]
    Threads(SystemError),
}

impl Engine {
    pub(crate) fn start(
        settings: ExportSettings,
        reader: KeyReader,
        fingerprinter: Fingerprinter,
    ) -> Result<Self, EngineError> {
        let driver = match settings.mode {
            ExportMode::Background => Driver::background(),
            ExportMode::Inline => Driver::inline(),
        };
        let driver = driver.map_err(|error| EngineError::Threads(error.into()))?;
        let transport = Transport::new(settings.timeout, settings.protocol, reader.has_strict_permissions());
        let keys = KeyStore::new(reader, fingerprinter, &settings, driver.handle());
        let (shared, events_rx) = Shared::new(settings, transport, driver, keys);
        let tasks = Arc::clone(&shared);
        match shared.settings.mode {
            ExportMode::Background => shared.driver.spawn(dispatch(events_rx, tasks)),
            ExportMode::Inline => shared.driver.spawn(dispatch_flushes(events_rx)),
        }
        Ok(Self { shared })
    }

    /// The connections of a way, shared with the lanes that go it already. Nothing is connected yet.
    ///
    /// # Errors
    /// [`TlsError`] where a certificate of it cannot be used.
    pub(crate) fn connections(&self, way: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        self.shared.transport.connections(way)
    }

    /// Opens a lane, counted in its selector's ledger.
    pub(crate) fn open_lane(
        &self,
        ledger: &Arc<SelectorLedger>,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: Arc<RotatingKey>,
    ) -> Arc<Lane> {
        let lane = Lane::new(destination, connections, key, Arc::clone(&self.shared), ledger);
        ledger.open(Arc::clone(&lane) as _);
        lane
    }

    /// What the registry's tracers share.
    pub(crate) fn boundary(&self) -> &Arc<Boundary> {
        &self.shared.boundary
    }

    /// The keys of lanes.
    pub(crate) fn keys(&self) -> &Arc<KeyStore> {
        &self.shared.keys
    }

    /// Runs a task on what moves the engine's, until it or the engine ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.driver.spawn(task);
    }

    /// From here on, lanes refuse what is new and count it.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// Ends the threads. Does not wait: what they are at is lost, so the lanes must have been settled or abandoned.
    pub(crate) fn stop(&self) {
        // Threads that read keys are not waited for, so what they have started is ended.
        self.shared.keys.give_up();
        self.shared.driver.stop();
    }

    /// Whether this process is a fork of the one that started the engine: nothing here is moved, and whatever is locked may stay so.
    pub(crate) fn is_forked(&self) -> bool {
        self.shared.is_forked()
    }

    /// The process that started the engine.
    #[cfg(feature = "metrics")]
    pub(crate) fn made_in(&self) -> ForkGuard {
        self.shared.made_in
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn mark(&self) -> EngineMark {
        EngineMark::of(&self.shared)
    }

    /// How many lines of the log the registry has left.
    pub(crate) fn lines(&self) -> &Arc<LineBudget> {
        &self.shared.lines
    }

    pub(crate) fn settings(&self) -> &ExportSettings {
        &self.shared.settings
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_forked() {
            // Its end would wait for threads that are not there, and close what the parent's sockets are watched by.
            mem::forget(Arc::clone(&self.shared));
        } else {
            self.stop();
        }
    }
}

/// Waits for events and for the next deadline, and has each lane send that has something to send.
///
/// While memory is short, the lanes that wait for the longest begin before their time, some at a time.
async fn dispatch(mut events_rx: UnboundedReceiver<EngineEvent>, shared: Arc<Shared>) {
    let mut timed: VecDeque<(Instant, Weak<dyn ScheduledLane>)> = VecDeque::new();
    let mut relief: Option<Instant> = None;
    loop {
        let deadline = timed.front().map(|(deadline, _)| *deadline);
        let next = match [deadline, relief].into_iter().flatten().min() {
            Some(deadline) => timeout_at(deadline, events_rx.recv()).await,
            None => Ok(events_rx.recv().await),
        };
        match next {
            Ok(Some(EngineEvent::Timed(lane))) => {
                let due = Instant::now() + shared.settings.scheduled_delay;
                // Weak: one that was sent meanwhile, and whose tracer is gone, is not kept for it.
                timed.push_back((due, Arc::downgrade(&lane)));
            }
            Ok(Some(EngineEvent::Ready(lane))) => {
                lane.send_due(Cause::Ready);
            }
            Ok(Some(EngineEvent::Session(queue))) => queue.send_all(),
            Ok(Some(EngineEvent::Log(lane))) => {
                tokio::spawn(async move { lane.log_begun() });
            }
            Ok(Some(EngineEvent::MemoryPressure)) => relief = Some(Instant::now()),
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
            let mut wanted = shared.settings.max_queue_bytes / RELIEF_PART;
            while relief.is_some() && wanted > 0 {
                let Some((_, lane)) = timed.pop_front() else { break };
                let bytes = lane.upgrade().and_then(|lane| lane.send_due(Cause::Memory));
                wanted = wanted.saturating_sub(bytes.unwrap_or(0));
            }
            if relief.is_none() {
                shared.clear_memory_pressure();
            }
        }
    }
}

/// The same in a mode where nothing is sent but what is flushed: session events wait until their lane is.
async fn dispatch_flushes(mut events_rx: UnboundedReceiver<EngineEvent>) {
    // By the address of their lane, which a queue keeps.
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
            EngineEvent::Log(lane) => lane.log_begun(),
            EngineEvent::Timed(_) | EngineEvent::Ready(_) | EngineEvent::MemoryPressure => {}
        }
    }
}
