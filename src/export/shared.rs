//! Engine state that lanes and tasks share.

use std::sync::Arc;
#[cfg(feature = "tracing")]
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::accounting::refused::RefusedRoom;
use super::explain::table::TraceTable;
use super::keys::key_store::KeyStore;
use super::log::budget::LineBudget;
use super::log::changes::ChangeLog;
use super::net::transport::Transport;
use super::queue::budget::Budget;
use super::queue::span_queue::ChunkPool;
use super::schedule::driver::Driver;
use super::schedule::engine_event::EngineEvent;
use super::schedule::permits::Permits;
#[cfg(feature = "metrics")]
use super::send::durations::Durations;
#[cfg(feature = "spool")]
use super::spool::Spool;
use crate::config::{ExportMode, ExportSettings};
use crate::context::Boundary;
#[cfg(test)]
use crate::secret::{Fingerprinter, KeyReader};
use crate::util::fork::ForkGuard;

/// Unused chunks may keep `max_queue_bytes` divided by this.
const POOL_DIVISOR: usize = 16;

/// Identifies an engine, to recognise its lanes. Does not keep the engine alive.
#[cfg(feature = "tracing")]
pub(crate) struct EngineMark(Weak<Shared>);

/// Engine state that lanes and tasks share.
pub(crate) struct Shared {
    pub(crate) settings: ExportSettings,
    pub(crate) transport: Transport,
    pub(crate) permits: Permits,
    pub(crate) budget: Budget,
    pub(crate) driver: Driver,
    pub(crate) fork_guard: ForkGuard,
    pub(crate) chunks: ChunkPool,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) lines: Arc<LineBudget>,
    pub(crate) changes: Arc<ChangeLog>,
    /// `None` if `explain` is off.
    pub(crate) explain: Option<TraceTable>,
    #[cfg(feature = "metrics")]
    pub(crate) durations: Durations,
    /// `None` if nothing goes to disk.
    #[cfg(feature = "spool")]
    spool: Option<Arc<Spool>>,
    /// `None` if refused batches are not kept.
    pub(crate) refused_room: Option<Arc<RefusedRoom>>,
    /// Isolation boundary of the registry's tracers.
    pub(crate) boundary: Arc<Boundary>,
    /// Notified when requests of some lanes must end before their outcome.
    pub(crate) interrupts: Notify,
    /// Whether the engine has been notified of memory pressure.
    memory_pressure: AtomicBool,
    events_tx: UnboundedSender<EngineEvent>,
    closing: AtomicBool,
}

impl Shared {
    /// Creates the state without engine threads, for tests that act as the engine. Returns the
    /// receiver of the lanes' events.
    #[cfg(test)]
    pub(crate) fn without_threads(
        settings: ExportSettings,
        transport: Transport,
        reader: KeyReader,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let keys = KeyStore::new(reader, Fingerprinter::new(), &settings, None);
        Self::new(
            settings,
            transport,
            Driver::without_runtime(),
            keys,
            #[cfg(feature = "spool")]
            None,
        )
    }

    /// Like [`without_threads`](Self::without_threads), with a spool.
    #[cfg(all(test, feature = "spool"))]
    pub(crate) fn with_spool(
        settings: ExportSettings,
        transport: Transport,
        reader: KeyReader,
        spool: Arc<Spool>,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let keys = KeyStore::new(reader, Fingerprinter::new(), &settings, None);
        Self::new(settings, transport, Driver::without_runtime(), keys, Some(spool))
    }

    pub(super) fn new(
        settings: ExportSettings,
        transport: Transport,
        driver: Driver,
        keys: Arc<KeyStore>,
        #[cfg(feature = "spool")] spool: Option<Arc<Spool>>,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let (events_tx, events_rx) = unbounded_channel();
        let shared = Self {
            lines: Arc::clone(keys.lines()),
            changes: Arc::clone(keys.changes()),
            #[cfg(feature = "metrics")]
            durations: Durations::default(),
            keys,
            #[cfg(feature = "spool")]
            spool,
            boundary: Arc::default(),
            transport,
            permits: Permits::new(settings.max_concurrent_exports),
            budget: Budget::new(settings.max_queue_bytes),
            driver,
            fork_guard: ForkGuard::default(),
            chunks: ChunkPool::new(settings.max_queue_bytes / POOL_DIVISOR),
            interrupts: Notify::new(),
            memory_pressure: AtomicBool::new(false),
            explain: TraceTable::new(&settings.explain),
            refused_room: RefusedRoom::new(&settings.dead_letters),
            settings,
            events_tx,
            closing: AtomicBool::new(false),
        };
        (Arc::new(shared), events_rx)
    }

    /// Sends an event to the engine, if its mode handles that event.
    pub(crate) fn notify(&self, event: EngineEvent) {
        let is_handled = match self.settings.mode {
            ExportMode::Background => !matches!(event, EngineEvent::Flush(_)),
            ExportMode::Inline => matches!(
                event,
                EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_)
            ),
        };
        if self.is_forked() || !is_handled {
            return;
        }
        // Fails only after the engine stopped. Its lanes are closed by then and count drops
        // themselves.
        drop(self.events_tx.send(event));
    }

    /// Returns the spool. `None` if nothing goes to disk, and in a forked child, which must not
    /// touch its parent's files.
    #[cfg(feature = "spool")]
    pub(crate) fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.as_ref().filter(|_| !self.is_forked())
    }

    /// Returns whether this process is a fork of the one that started the engine. If so, lanes
    /// refuse new data from then on.
    pub(crate) fn is_forked(&self) -> bool {
        let is_forked = self.fork_guard.is_forked_child();
        if is_forked {
            self.closing.store(true, Ordering::Relaxed);
        }
        is_forked
    }

    /// Notifies the engine if memory is under pressure, once per episode.
    pub(crate) fn check_memory_pressure(&self) {
        if self.budget.is_under_pressure()
            && !self.memory_pressure.load(Ordering::Relaxed)
            && !self.memory_pressure.swap(true, Ordering::Relaxed)
        {
            self.notify(EngineEvent::MemoryPressure);
        }
    }

    /// Called by the engine after it relieved memory pressure; the next pressure notifies it again.
    pub(super) fn clear_memory_pressure(&self) {
        self.memory_pressure.store(false, Ordering::Relaxed);
    }

    /// Makes lanes refuse and count new data.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closing(&self) -> bool {
        // Relaxed: a span that ends while `close` runs may be accepted or refused.
        self.closing.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "tracing")]
impl EngineMark {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        // The weak reference keeps the allocation, so the address is not reused.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(shared))
    }
}
