//! The engine: threads, deadlines, and who sends next.
//!
//! A lane rings the bell when its first span arrives and when it has a full batch; the engine keeps the deadlines of timed lanes in one
//! queue, since the delay is the same for all, and starts a task per lane that has something to send. Work is proportional to lanes
//! with something to send, not to lanes that exist.
//!
//! The threads are the engine's own: it works in and out of tokio, in a current-thread runtime that stands still, and while a
//! program ends. They run with telemetry suppressed, so that an instrumented HTTP client makes no spans about sending spans.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::Resource;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::ExportError;
use super::account::Account;
use super::batch;
use super::budget::Budget;
use super::connections::{Connections, Way};
use super::encode;
use super::keyring::Keyring;
use super::keyrings::{Keyrings, READERS};
use super::lane::Lane;
use super::outbox::Outbox;
use super::permits::Permits;
use super::queue::Chunks;
use super::tls::TlsError;
use super::transport::{Call, Transport};
use super::verdict::{Verdict, judge};
use crate::backend::Destination;
use crate::config::ExportSettings;
use crate::context;
use crate::secret::{ApiKey, Fingerprinter, SecretSources};
use crate::selector::Selector;

/// Threads that encode and send.
const WORKERS: usize = 2;
/// Threads that resolve names; they end when they have had nothing to do for a while. More than a few names whose servers do not
/// answer may hold, since nothing can end such a look-up.
const RESOLVERS: usize = 16;

/// What part of the memory for spans is kept for those to come, where nobody uses it.
const KEPT_PART: usize = 16;
/// What part of the memory for spans is sent before its time at once, where it is short, and after which time there is more of it.
const RELIEF_PART: usize = 16;
const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The engine of one registry. Dropped, it ends its threads without waiting for them.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
}

/// What lanes and tasks need of the engine.
pub(super) struct Shared {
    pub(super) settings: ExportSettings,
    pub(super) transport: Transport,
    pub(super) permits: Permits,
    pub(super) budget: Budget,
    pub(super) chunks: Chunks,
    pub(super) keyrings: Arc<Keyrings>,
    /// The engine knows that memory is short.
    pressed: AtomicBool,
    bell: UnboundedSender<Ring>,
    closing: AtomicBool,
}

/// What a lane or an outbox tells the engine.
pub(super) enum Ring {
    /// Has its first span: send when the delay is over.
    Timed(Arc<Lane>),
    /// Has a batch, or is being flushed.
    Ready(Arc<Lane>),
    /// Has session events.
    Session(Arc<Outbox>),
    /// Memory is short.
    Pressed,
}

/// Why the engine could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The threads could not be started.
    #[error("the export threads cannot be started: {0}")]
    Threads(std::io::ErrorKind),
}

impl Engine {
    pub(crate) fn start(
        settings: ExportSettings,
        sources: SecretSources,
        fingerprinter: Fingerprinter,
    ) -> Result<Self, EngineError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(RESOLVERS + READERS)
            .thread_keep_alive(Duration::from_secs(1))
            .thread_name("tracer-registry")
            .on_thread_start(context::suppress_on_this_thread)
            .enable_all()
            .build()
            .map_err(|error| EngineError::Threads(error.kind()))?;
        let (bell, rung) = unbounded_channel();
        let runtime_of_keys = Some(runtime.handle().clone());
        let shared = Arc::new(Shared {
            keyrings: Keyrings::new(sources, fingerprinter, settings.retry.clone(), runtime_of_keys),
            transport: Transport::new(settings.timeout, settings.protocol),
            permits: Permits::new(settings.max_concurrent_exports),
            budget: Budget::new(settings.max_queue_bytes),
            chunks: Chunks::new(settings.max_queue_bytes / KEPT_PART),
            pressed: AtomicBool::new(false),
            settings,
            bell,
            closing: AtomicBool::new(false),
        });
        runtime.spawn(dispatch(rung, Arc::clone(&shared)));
        Ok(Self {
            shared,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// The connections of a way, shared with the lanes that go it already. Nothing is connected yet.
    ///
    /// # Errors
    /// [`TlsError`] where a certificate of it cannot be used.
    pub(crate) fn connections(&self, way: &Way) -> Result<Arc<Connections>, TlsError> {
        self.shared.transport.connections(way)
    }

    /// A new lane in a selector's books.
    pub(crate) fn open_lane(
        &self,
        account: &Arc<Account>,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        keyring: Arc<Keyring>,
    ) -> Arc<Lane> {
        let lane = Lane::new(destination, connections, keyring, Arc::clone(&self.shared), account);
        account.open(&lane);
        lane
    }

    /// Sends an empty export once, in the background; the answer comes through the channel, or nothing where the engine is stopped.
    pub(crate) fn probe(
        &self,
        selector: &Selector,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: ApiKey,
    ) -> Receiver<Result<(), ExportError>> {
        let (answer, receiver) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.as_ref() {
            let resource = destination.resource(selector);
            runtime.spawn(async move {
                drop(answer.send(probe(&shared, &resource, &destination, &connections, &key).await));
            });
        }
        receiver
    }

    /// The keys of lanes.
    pub(crate) fn keyrings(&self) -> &Arc<Keyrings> {
        &self.shared.keyrings
    }

    /// Runs a task on the engine's threads, until it or the engine ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.as_ref() {
            runtime.spawn(task);
        }
    }

    /// From here on, lanes refuse what is new and count it.
    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
    }

    /// Ends the threads. Does not wait: what they are at is lost, so the lanes must have been settled or abandoned.
    pub(crate) fn stop(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn settings(&self) -> &ExportSettings {
        &self.shared.settings
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A runtime that is dropped by itself waits, and panics inside another runtime.
        self.stop();
    }
}

impl Shared {
    /// For tests that are the engine themselves: what lanes need, and the other end of the bell.
    #[cfg(test)]
    pub(super) fn without_threads(
        settings: ExportSettings,
        transport: Transport,
        sources: SecretSources,
    ) -> (Arc<Self>, UnboundedReceiver<Ring>) {
        let (bell, rung) = unbounded_channel();
        let shared = Self {
            keyrings: Keyrings::new(sources, Fingerprinter::new(), settings.retry.clone(), None),
            transport,
            permits: Permits::new(settings.max_concurrent_exports),
            budget: Budget::new(settings.max_queue_bytes),
            chunks: Chunks::new(settings.max_queue_bytes / KEPT_PART),
            pressed: AtomicBool::new(false),
            settings,
            bell,
            closing: AtomicBool::new(false),
        };
        (Arc::new(shared), rung)
    }

    pub(super) fn ring(&self, ring: Ring) {
        // Nobody listens once the engine stopped; its lanes have been closed by then, and count for themselves.
        drop(self.bell.send(ring));
    }

    /// Tells the engine where memory is short.
    pub(super) fn look_at_memory(&self) {
        if self.budget.is_pressed()
            && !self.pressed.load(Ordering::Relaxed)
            && !self.pressed.swap(true, Ordering::Relaxed)
        {
            self.ring(Ring::Pressed);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) // A span that ends at the same moment may fall on either side.
    }
}

impl Ring {
    pub(super) fn timed(lane: &Arc<Lane>) -> Self {
        Self::Timed(Arc::clone(lane))
    }

    pub(super) fn ready(lane: &Arc<Lane>) -> Self {
        Self::Ready(Arc::clone(lane))
    }
}

/// Waits for the bell and for the next deadline, and starts a task for each lane that has something to send.
///
/// While memory is short, the lanes that wait for the longest are started before their time, some at a time.
async fn dispatch(mut rung: UnboundedReceiver<Ring>, shared: Arc<Shared>) {
    let mut timed: VecDeque<(Instant, Arc<Lane>)> = VecDeque::new();
    let mut relief: Option<Instant> = None;
    loop {
        let deadline = timed.front().map(|(deadline, _)| *deadline);
        let next = match [deadline, relief].into_iter().flatten().min() {
            Some(deadline) => timeout_at(deadline, rung.recv()).await,
            None => Ok(rung.recv().await),
        };
        match next {
            Ok(Some(Ring::Timed(lane))) => timed.push_back((Instant::now() + shared.settings.scheduled_delay, lane)),
            Ok(Some(Ring::Ready(lane))) => {
                if lane.start_ready() {
                    tokio::spawn(run(lane, Arc::clone(&shared)));
                }
            }
            Ok(Some(Ring::Session(outbox))) => {
                tokio::spawn(outbox.run());
            }
            Ok(Some(Ring::Pressed)) => relief = Some(Instant::now()),
            Ok(None) => return,
            Err(_) => {}
        }
        let now = Instant::now();
        while timed.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some((_, lane)) = timed.pop_front()
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

/// Sends what is due of one lane, batch after batch.
async fn run(lane: Arc<Lane>, shared: Arc<Shared>) {
    shared.permits.wake(&lane);
    while lane.is_due() {
        batch::send_next(&lane, &shared).await;
    }
}

async fn probe(
    shared: &Shared,
    resource: &Resource,
    destination: &Destination,
    connections: &Connections,
    key: &ApiKey,
) -> Result<(), ExportError> {
    let settings = &shared.settings;
    let encoded = encode::spans(&[], resource, settings.protocol, settings.compression)?;
    let call = Call::spans(settings.protocol, destination, encoded);
    // A person wants to know: it is asked whatever the breakers say.
    let attempt = shared
        .transport
        .send(&call, destination, key, &connections.line(false))
        .await;
    match judge(&call.url, attempt.result, 0, key, SystemTime::now()) {
        Verdict::Delivered { .. } => Ok(()),
        Verdict::Deny { error }
        | Verdict::Repeat { error, .. }
        | Verdict::Refuse { error, .. }
        | Verdict::Drop { error, .. } => Err(error),
    }
}
