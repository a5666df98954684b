//! The engine: deadlines, and who sends next.
//!
//! A lane rings the bell when its first span arrives and when it has a full batch; the engine keeps the deadlines of timed lanes in one
//! queue, since the delay is the same for all, and starts a task per lane that has something to send. Work is proportional to lanes
//! with something to send, not to lanes that exist.
//!
//! The threads are the engine's own ([`Driver`]): it works in and out of tokio, in a current-thread runtime that stands still, and while a
//! program ends. They run with telemetry suppressed, so that an instrumented HTTP client makes no spans about sending spans.
//!
//! With `export.mode = "inline"` there are neither threads nor deadlines. A lane rings when it is flushed, and at no other time.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use crate::backend::Destination;
use crate::config::{ExportMode, ExportSettings};
use crate::context::Boundary;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::keys::key_store::KeyStore;
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::lane::Lane;
use crate::export::log::LineBudget;
use crate::export::net::connections::{ConnectionKey, Connections};
use crate::export::net::tls::TlsError;
use crate::export::net::transport::Transport;
use crate::export::queue::budget::Budget;
use crate::export::queue::session_queue::SessionQueue;
use crate::export::queue::span_queue::Chunks;
use crate::export::schedule::driver::Driver;
use crate::export::schedule::permits::Permits;
use crate::export::send::batch;
use crate::secret::{Fingerprinter, KeyReader};
use crate::util::fork::ForkGuard;
use crate::util::system_error::SystemError;

/// What part of the memory for spans is kept for those to come, where nobody uses it.
const KEPT_PART: usize = 16;
/// What part of the memory for spans is sent before its time at once, where it is short, and after which time there is more of it.
const RELIEF_PART: usize = 16;
const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The engine of one registry. Dropped, it ends its threads without waiting for them.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What tells the lanes of one engine from those of others. Does not keep the engine.
#[cfg(feature = "tracing")]
pub(crate) struct EngineMark(pub(crate) Weak<Shared>);

/// What lanes and tasks need of the engine.
pub(crate) struct Shared {
    pub(crate) settings: ExportSettings,
    pub(crate) transport: Transport,
    pub(crate) permits: Permits,
    pub(crate) budget: Budget,
    pub(crate) driver: Driver,
    pub(crate) home: ForkGuard,
    pub(crate) chunks: Chunks,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) lines: Arc<LineBudget>,
    /// What the registry's tracers share.
    pub(crate) boundary: Arc<Boundary>,
    /// The engine knows that memory is short.
    pressed: AtomicBool,
    events_tx: UnboundedSender<EngineEvent>,
    closing: AtomicBool,
}

/// What a lane or an outbox tells the engine.
pub(crate) enum EngineEvent {
    /// Has its first span: send when the delay is over.
    Timed(Arc<Lane>),
    /// Has a batch, or is being flushed.
    Ready(Arc<Lane>),
    /// Is being flushed: heard where nothing is sent at any other time.
    Flush(Arc<Lane>),
    /// Has session events.
    Session(Arc<SessionQueue>),
    /// Something began that the log is to say.
    Log(Arc<Lane>),
    /// Memory is short.
    Pressed,
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
            ExportMode::Inline => shared.driver.spawn(dispatch_flushes(events_rx, tasks)),
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

    /// A new lane in a selector's books.
    pub(crate) fn open_lane(
        &self,
        account: &Arc<SelectorLedger>,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: Arc<RotatingKey>,
    ) -> Arc<Lane> {
        let lane = Lane::new(destination, connections, key, Arc::clone(&self.shared), account);
        account.open(&lane);
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
        self.shared.closing.store(true, Ordering::SeqCst);
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
    pub(crate) fn home(&self) -> ForkGuard {
        self.shared.home
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn mark(&self) -> EngineMark {
        EngineMark(Arc::downgrade(&self.shared))
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

impl Shared {
    /// For tests that are the engine themselves: what lanes need, and the other end of the bell.
    #[cfg(test)]
    pub(crate) fn without_threads(
        settings: ExportSettings,
        transport: Transport,
        reader: KeyReader,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let keys = KeyStore::new(reader, Fingerprinter::new(), &settings, None);
        Self::new(settings, transport, Driver::nobody(), keys)
    }

    fn new(
        settings: ExportSettings,
        transport: Transport,
        driver: Driver,
        keys: Arc<KeyStore>,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let (events_tx, events_rx) = unbounded_channel();
        let shared = Self {
            lines: Arc::clone(&keys.lines),
            keys,
            boundary: Arc::default(),
            transport,
            permits: Permits::new(settings.max_concurrent_exports),
            budget: Budget::new(settings.max_queue_bytes),
            driver,
            home: ForkGuard::default(),
            chunks: Chunks::new(settings.max_queue_bytes / KEPT_PART),
            pressed: AtomicBool::new(false),
            settings,
            events_tx,
            closing: AtomicBool::new(false),
        };
        (Arc::new(shared), events_rx)
    }

    pub(crate) fn notify(&self, event: EngineEvent) {
        let is_heard = match self.settings.mode {
            ExportMode::Background => !matches!(event, EngineEvent::Flush(_)),
            ExportMode::Inline => matches!(
                event,
                EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_)
            ),
        };
        if self.is_forked() || !is_heard {
            return;
        }
        // Nobody listens once the engine stopped; its lanes have been closed by then, and count for themselves.
        drop(self.events_tx.send(event));
    }

    /// Whether this process is a fork of the one that started the engine. Once that is known, lanes refuse what is new.
    pub(crate) fn is_forked(&self) -> bool {
        let is_forked = self.home.is_forked_child();
        if is_forked {
            self.closing.store(true, Ordering::Relaxed);
        }
        is_forked
    }

    /// Tells the engine where memory is short.
    pub(crate) fn look_at_memory(&self) {
        if self.budget.is_pressed()
            && !self.pressed.load(Ordering::Relaxed)
            && !self.pressed.swap(true, Ordering::Relaxed)
        {
            self.notify(EngineEvent::Pressed);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) // A span that ends at the same moment may fall on either side.
    }
}

impl EngineEvent {
    pub(crate) fn timed(lane: &Arc<Lane>) -> Self {
        Self::Timed(Arc::clone(lane))
    }

    pub(crate) fn ready(lane: &Arc<Lane>) -> Self {
        Self::Ready(Arc::clone(lane))
    }

    pub(crate) fn flush(lane: &Arc<Lane>) -> Self {
        Self::Flush(Arc::clone(lane))
    }
}

/// Waits for the bell and for the next deadline, and starts a task for each lane that has something to send.
///
/// While memory is short, the lanes that wait for the longest are started before their time, some at a time.
async fn dispatch(mut events_rx: UnboundedReceiver<EngineEvent>, shared: Arc<Shared>) {
    let mut timed: VecDeque<(Instant, Weak<Lane>)> = VecDeque::new();
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
                if lane.start_ready() {
                    tokio::spawn(run(lane, Arc::clone(&shared)));
                }
            }
            Ok(Some(EngineEvent::Session(queue))) => {
                tokio::spawn(queue.run());
            }
            Ok(Some(EngineEvent::Log(lane))) => {
                tokio::spawn(async move { lane.log_begun() });
            }
            Ok(Some(EngineEvent::Pressed)) => relief = Some(Instant::now()),
            Ok(None) => return,
            Ok(Some(EngineEvent::Flush(_))) | Err(_) => {}
        }
        let now = Instant::now();
        while timed.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some(lane) = timed.pop_front().and_then(|(_, lane)| lane.upgrade())
                && lane.start_timed(now.into_std())
            {
                tokio::spawn(run(lane, Arc::clone(&shared)));
            }
        }
        if relief.is_some_and(|at| at <= now) {
            relief = shared.budget.is_pressed().then(|| now + RELIEF_PAUSE);
            let mut wanted = shared.settings.max_queue_bytes / RELIEF_PART;
            while relief.is_some() && wanted > 0 {
                let Some((_, lane)) = timed.pop_front() else { break };
                let Some(lane) = lane.upgrade() else { continue };
                if let Some(bytes) = lane.start_early() {
                    wanted = wanted.saturating_sub(bytes);
                    tokio::spawn(run(lane, Arc::clone(&shared)));
                }
            }
            if relief.is_none() {
                shared.pressed.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// The same where nothing is sent but what is flushed: session events wait until their lane is.
async fn dispatch_flushes(mut events_rx: UnboundedReceiver<EngineEvent>, shared: Arc<Shared>) {
    // By the lane's address. An outbox keeps its lane, so no other one comes to be there.
    let mut queues: HashMap<usize, Vec<Arc<SessionQueue>>> = HashMap::new();
    let address = |lane: &Arc<Lane>| Arc::as_ptr(lane).addr();
    while let Some(event) = events_rx.recv().await {
        match event {
            EngineEvent::Session(queue) => queues.entry(address(queue.lane())).or_default().push(queue),
            EngineEvent::Flush(lane) => {
                for queue in queues.remove(&address(&lane)).unwrap_or_default() {
                    tokio::spawn(queue.run());
                }
                if lane.start_ready() {
                    tokio::spawn(run(lane, Arc::clone(&shared)));
                }
            }
            EngineEvent::Log(lane) => lane.log_begun(),
            EngineEvent::Timed(_) | EngineEvent::Ready(_) | EngineEvent::Pressed => {}
        }
    }
}

/// Sends what is due of one lane, batch after batch.
async fn run(lane: Arc<Lane>, shared: Arc<Shared>) {
    shared.permits.wake(&lane);
    while lane.is_due() {
        batch::send_next(&lane, &shared).await;
    }
}
