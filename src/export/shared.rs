//! What lanes and tasks need of the engine.

use std::sync::Arc;
#[cfg(feature = "tracing")]
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::keys::key_store::KeyStore;
use super::log::budget::LineBudget;
use super::net::transport::Transport;
use super::queue::budget::Budget;
use super::queue::span_queue::Chunks;
use super::schedule::driver::Driver;
use super::schedule::engine_event::EngineEvent;
use super::schedule::permits::Permits;
use crate::config::{ExportMode, ExportSettings};
use crate::context::Boundary;
#[cfg(test)]
use crate::secret::{Fingerprinter, KeyReader};
use crate::util::fork::ForkGuard;

/// What part of the memory for spans is kept for those to come, where nobody uses it.
const KEPT_PART: usize = 16;

/// What tells the lanes of one engine from those of others. Does not keep the engine.
#[cfg(feature = "tracing")]
pub(crate) struct EngineMark(Weak<Shared>);

/// What lanes and tasks need of the engine.
pub(crate) struct Shared {
    pub(crate) settings: ExportSettings,
    pub(crate) transport: Transport,
    pub(crate) permits: Permits,
    pub(crate) budget: Budget,
    pub(crate) driver: Driver,
    pub(crate) made_in: ForkGuard,
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

impl Shared {
    /// For tests that are the engine themselves: what lanes need, and the events that they send.
    #[cfg(test)]
    pub(crate) fn without_threads(
        settings: ExportSettings,
        transport: Transport,
        reader: KeyReader,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let keys = KeyStore::new(reader, Fingerprinter::new(), &settings, None);
        Self::new(settings, transport, Driver::nobody(), keys)
    }

    pub(super) fn new(
        settings: ExportSettings,
        transport: Transport,
        driver: Driver,
        keys: Arc<KeyStore>,
    ) -> (Arc<Self>, UnboundedReceiver<EngineEvent>) {
        let (events_tx, events_rx) = unbounded_channel();
        let shared = Self {
            lines: Arc::clone(keys.lines()),
            keys,
            boundary: Arc::default(),
            transport,
            permits: Permits::new(settings.max_concurrent_exports),
            budget: Budget::new(settings.max_queue_bytes),
            driver,
            made_in: ForkGuard::default(),
            chunks: Chunks::new(settings.max_queue_bytes / KEPT_PART),
            pressed: AtomicBool::new(false),
            settings,
            events_tx,
            closing: AtomicBool::new(false),
        };
        (Arc::new(shared), events_rx)
    }

    /// Tells the engine.
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
        let is_forked = self.made_in.is_forked_child();
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

    /// The engine has dealt with a shortage of memory.
    pub(super) fn end_pressure(&self) {
        self.pressed.store(false, Ordering::Relaxed);
    }

    /// From here on, lanes refuse what is new and count it.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) // A span that ends at the same moment may fall on either side.
    }
}

#[cfg(feature = "tracing")]
impl EngineMark {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        // The mark keeps the place of what it stands for.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(shared))
    }
}
