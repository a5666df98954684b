//! One tracer's path to its backend: queue, schedule, ledger, destination and key.
//!
//! | schedule | event | next |
//! |---|---|---|
//! | idle | a span is queued | timed (ready, if one span is a full batch) |
//! | timed | the queue holds a batch or is full, a flush starts, the tracer is dropped, or its pool slot is needed | ready |
//! | timed | the delay elapses, or memory is under pressure | running |
//! | ready | the engine starts it | running |
//! | running | all due spans are completed, some spans are left | timed |
//! | running | all due spans are completed, the queue is empty | idle |
//! | any | abandoned at the end of a shutdown | closed |
//!
//! One mutex guards all mutable state and is held for a few instructions: a sender locks it to take
//! a batch and to complete one, never while it encodes or sends. If spans end on several threads at
//! once, each thread has a short queue of its own in front of the lane's (`stripes`).

#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Semaphore;

#[cfg(feature = "spool")]
use super::state::LaneSpool;
use super::state::{MakeEvent, State};
use super::stripes::Stripes;
use super::sync::{Condvar, ForkLock, Guard};
use crate::backend::Destination;
use crate::context::Identity;
use crate::export::accounting::lane_status::{DestinationStatus, RequestKind};
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::copies::Copies;
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::net::connections::Connections;
use crate::export::schedule::breaker_chain::LaneBreakers;
use crate::export::schedule::capacity_queue::CapacityShare;
use crate::export::schedule::fair_semaphore::VirtualTime;
#[cfg(feature = "tracing")]
use crate::export::shared::EngineMark;
use crate::export::shared::Shared;
#[cfg(feature = "spool")]
use crate::export::spool::Spool;
use crate::policy::Policies;
use crate::secret::Fingerprint;
use crate::selector::Selector;

/// One tracer's path to its backend.
pub(crate) struct Lane {
    pub(crate) selector: Selector,
    pub(crate) identity: Arc<Identity>,
    /// Shared by lanes with equal destinations.
    pub(crate) destination: Arc<Destination>,
    pub(crate) key: Arc<RotatingKey>,
    pub(crate) breakers: LaneBreakers,
    pub(crate) connections: Arc<Connections>,
    pub(crate) policies: Policies,
    /// Where else its spans go. `None` if nowhere.
    pub(crate) copies: Option<Arc<Copies<Self>>>,
    pub(super) shared: Arc<Shared>,
    /// `None` if nothing of the lane goes to disk.
    #[cfg(feature = "spool")]
    pub(super) spool: Option<Arc<Spool>>,
    selector_ledger: Weak<SelectorLedger>,
    pub(super) state: ForkLock<State>,
    pub(super) stripes: Stripes,
    /// Started spans that were sampled out.
    #[cfg(feature = "metrics")]
    pub(super) left_out: AtomicU64,
    /// Notified when spans or session events complete.
    pub(super) completed: Condvar,
    session_permits: OnceLock<Box<Semaphore>>,
    quarantine_permit: OnceLock<Box<Semaphore>>,
    /// Bytes sent divided by weight, for fair scheduling.
    pub(crate) virtual_time: VirtualTime,
    /// Bytes that its receiver accepted, by kind.
    shares: [CapacityShare; 2],
}

/// What a binding decides about a lane.
pub(crate) struct LaneParts {
    pub(crate) destination: Arc<Destination>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) key: Arc<RotatingKey>,
    pub(crate) policies: Policies,
    pub(crate) copies: Option<Arc<Copies<Lane>>>,
}

impl Lane {
    pub(crate) fn new(
        parts: LaneParts,
        shared: Arc<Shared>,
        ledger: &Arc<SelectorLedger>,
        #[cfg(feature = "spool")] spool: Option<Arc<Spool>>,
    ) -> Arc<Self> {
        let LaneParts {
            destination,
            connections,
            key,
            policies,
            copies,
        } = parts;
        let state = ForkLock::<State>::default();
        #[cfg(feature = "spool")]
        if let Some(spool) = &spool {
            state.lock().spool = Some(Box::new(LaneSpool::new(&ledger.selector, spool)));
        }
        Arc::new(Self {
            state,
            #[cfg(feature = "spool")]
            spool,
            selector: ledger.selector.clone(),
            identity: Identity::new(&ledger.selector, &shared.boundary),
            breakers: LaneBreakers::new(Arc::clone(&connections.breaker)),
            virtual_time: VirtualTime::new(destination.weight),
            shares: [(); 2].map(|()| CapacityShare::new(destination.weight)),
            destination,
            key,
            connections,
            policies,
            copies,
            shared,
            session_permits: OnceLock::new(),
            quarantine_permit: OnceLock::new(),
            selector_ledger: Arc::downgrade(ledger),
            stripes: Stripes::default(),
            #[cfg(feature = "metrics")]
            left_out: AtomicU64::new(0),
            completed: Condvar::new(),
        })
    }

    /// Returns whether the lane belongs to that engine.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_of(&self, engine: &EngineMark) -> bool {
        engine.is_of(&self.shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the ledger of its selector, or `None` if the registry is gone.
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

    /// Returns the lane's share of the receiver's capacity for this kind.
    pub(crate) fn share(&self, kind: RequestKind) -> &CapacityShare {
        &self.shares[kind as usize]
    }

    /// Returns the semaphore that limits concurrent session-event requests to a quarter of
    /// `max_concurrent_exports`, so a tracer with thousands of sessions cannot take all permits.
    /// Span batches are sent one at a time anyway.
    pub(crate) fn session_permits(&self) -> &Semaphore {
        let semaphore = || Box::new(Semaphore::new((self.shared.settings.max_concurrent_exports / 4).max(1)));
        self.session_permits.get_or_init(semaphore)
    }

    /// Returns the semaphore that processes quarantined batches one at a time, in order.
    pub(crate) fn quarantine_permit(&self) -> &Semaphore {
        self.quarantine_permit.get_or_init(|| Box::new(Semaphore::new(1)))
    }

    /// Locks the state, with the spans of all stripes.
    pub(super) fn lock(&self) -> Guard<'_, State> {
        let mut state = self.state.lock();
        self.stripes.collect(&mut state);
        state
    }

    /// Sends an event of this lane to the engine.
    pub(super) fn notify(self: &Arc<Self>, event: MakeEvent) {
        self.shared.notify(event(Arc::clone(self) as _));
    }

    /// Wakes waiting flushes to check whether they are complete.
    pub(super) fn notify_completed(&self) {
        self.completed.notify_all();
        self.shared.driver.notify_completed();
    }
}
