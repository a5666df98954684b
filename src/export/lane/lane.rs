//! One tracer's way out: its queue, its schedule, its ledger, its destination and its key.
//!
//! | schedule | event | next |
//! |---|---|---|
//! | idle | a span arrives | timed (ready, where one span is a full batch) |
//! | timed | the queue holds a batch or is full, a flush is asked for, the tracer is gone, or its place in the pool is needed | ready |
//! | timed | the delay is over, or memory is short | running |
//! | ready | the engine comes to it | running |
//! | running | all that was due is settled, some spans are left | timed |
//! | running | all that was due is settled, nothing is left | idle |
//! | any | abandoned at the end of a shutdown | closed |
//!
//! Everything that counts or changes is behind one mutex, held for a few instructions: a sender takes it to pull a batch out and to
//! settle one, never while it works.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Semaphore;

use super::state::{Event, State};
use super::sync::{Condvar, ForkLock};
use crate::backend::Destination;
use crate::context::Identity;
use crate::export::accounting::lane_status::{DestinationStatus, RequestKind};
use crate::export::accounting::selector_ledger::SelectorLedger;
#[cfg(feature = "metrics")]
use crate::export::accounting::span_counters::SpanCounters;
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::net::connections::Connections;
use crate::export::schedule::breaker_chain::LaneBreakers;
use crate::export::schedule::fair_semaphore::VirtualTime;
use crate::export::schedule::shortage::Share;
#[cfg(feature = "tracing")]
use crate::export::shared::EngineMark;
use crate::export::shared::Shared;
use crate::secret::Fingerprint;
use crate::selector::Selector;

/// One tracer's way out.
pub(crate) struct Lane {
    pub(crate) selector: Selector,
    pub(crate) identity: Arc<Identity>,
    /// Shared with the lanes of others whose bindings say the same.
    pub(crate) destination: Arc<Destination>,
    pub(crate) key: Arc<RotatingKey>,
    pub(crate) breakers: LaneBreakers,
    pub(crate) connections: Arc<Connections>,
    pub(super) shared: Arc<Shared>,
    selector_ledger: Weak<SelectorLedger>,
    #[cfg(feature = "metrics")]
    pub(super) starts: Arc<SpanCounters>,
    pub(super) state: ForkLock<State>,
    /// Spans that were started and have not ended; what sampling left out is not among them.
    pub(super) open_spans: AtomicU64,
    /// Notified whenever something has its outcome.
    pub(super) completed: Condvar,
    session_permits: OnceLock<Box<Semaphore>>,
    aside_permit: OnceLock<Box<Semaphore>>,
    /// What it has sent, for its fair share.
    pub(crate) virtual_time: VirtualTime,
    /// What its receiver took, by kind.
    shares: [Share; 2],
}

impl Lane {
    pub(crate) fn new(
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: Arc<RotatingKey>,
        shared: Arc<Shared>,
        ledger: &Arc<SelectorLedger>,
    ) -> Arc<Self> {
        Arc::new(Self {
            selector: ledger.selector.clone(),
            identity: Identity::new(&ledger.selector, &shared.boundary),
            breakers: LaneBreakers::new(Arc::clone(&connections.breaker)),
            virtual_time: VirtualTime::new(destination.weight),
            shares: [(); 2].map(|()| Share::new(destination.weight)),
            destination,
            key,
            connections,
            shared,
            session_permits: OnceLock::new(),
            aside_permit: OnceLock::new(),
            selector_ledger: Arc::downgrade(ledger),
            #[cfg(feature = "metrics")]
            starts: Arc::clone(ledger.starts()),
            state: ForkLock::default(),
            open_spans: AtomicU64::new(0),
            completed: Condvar::new(),
        })
    }

    /// Whether it is one of that engine's.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_of(&self, engine: &EngineMark) -> bool {
        engine.is_of(&self.shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The ledger of its selector; `None` if the registry is gone.
    pub(crate) fn selector_ledger(&self) -> Option<Arc<SelectorLedger>> {
        self.selector_ledger.upgrade()
    }

    /// Fingerprint of the current API key. Changes when the key rotates.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    pub(super) fn destination_status(&self) -> DestinationStatus {
        let settings = &self.shared.settings;
        DestinationStatus {
            endpoint: self.destination.traces_url.clone(),
            backend: self.destination.backend,
            protocol: settings.protocol,
            compression: settings.compression,
        }
    }

    /// What the receiver took of this kind.
    pub(crate) fn share(&self, kind: RequestKind) -> &Share {
        &self.shares[kind as usize]
    }

    /// Session events that may be under way at the same time; spans go one batch after the other anyway.
    pub(crate) fn session_permits(&self) -> &Semaphore {
        // One tracer with thousands of sessions must not take all permits while others are to be sent.
        let places = || Box::new(Semaphore::new((self.shared.settings.max_concurrent_exports / 4).max(1)));
        self.session_permits.get_or_init(places)
    }

    /// The permit of a batch that was set aside: one after the other, as they came.
    pub(crate) fn aside_permit(&self) -> &Semaphore {
        self.aside_permit.get_or_init(|| Box::new(Semaphore::new(1)))
    }

    /// Tells the engine.
    pub(super) fn notify(self: &Arc<Self>, event: Event) {
        self.shared.notify(event(Arc::clone(self) as _));
    }

    /// Wakes flushes, which look whether all of theirs is complete.
    pub(super) fn notify_completed(&self) {
        self.completed.notify_all();
        self.shared.driver.notify_completed();
    }
}
