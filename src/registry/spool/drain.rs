//! Finds tracers for selectors that have rows on disk and no lane.
//!
//! | event | what follows |
//! |---|---|
//! | rows of a selector are on disk, and no lane of it loads | its tracer is looked up, after its back-off |
//! | the look-up succeeds | the tracer's lane loads; its handle is kept until it cannot load more for now |
//! | the selector has no binding | it is looked up again after a minute |
//! | the look-up fails otherwise | it is looked up again after a back-off |
//! | the configuration is reloaded | all selectors that wait are looked up at once |
//!
//! So a selector that nothing uses any more still sends what it left. At most a quarter of the pool
//! holds such tracers at a time, and each of them sends with its own share of permits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::export::{DrainEvent, SelectorLedger, Spool};
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::registry::weak::WeakRegistry;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

/// Most look-ups at a time.
const LOOK_UPS: usize = 16;
/// The part of the pool that the drain may fill.
const POOL_DIVISOR: usize = 4;
/// How long a selector without a binding waits.
const UNBOUND_WAIT: Duration = Duration::from_secs(60);

/// Selectors that wait for a look-up, by when it is due and by a number.
#[derive(Default)]
struct WaitingSelectors {
    waiting: BTreeMap<(Instant, u64), Arc<SelectorLedger>>,
    numbers: u64,
}

/// Limits of the drain.
struct Limits {
    look_ups: Arc<Semaphore>,
    tracers: Arc<Semaphore>,
}

/// What one look-up holds.
struct Permits {
    look_up: OwnedSemaphorePermit,
    tracer: OwnedSemaphorePermit,
}

impl TracerRegistry {
    /// Starts to find tracers for what is on disk. Ends with the engine.
    pub(crate) fn start_drain(&self, spool: &Arc<Spool>) {
        if let Some(events_rx) = spool.drain.take_receiver() {
            let max = self.0.state.pool.max() / POOL_DIVISOR;
            self.0
                .engine
                .spawn(run(self.downgrade(), Arc::clone(spool), events_rx, max.max(1)));
        }
    }
}

async fn run(
    registry: WeakRegistry,
    spool: Arc<Spool>,
    mut events_rx: UnboundedReceiver<DrainEvent>,
    max_tracers: usize,
) {
    let limits = Limits {
        look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
        tracers: Arc::new(Semaphore::new(max_tracers.min(Semaphore::MAX_PERMITS))),
    };
    let mut waiting = WaitingSelectors::default();
    loop {
        let event = match waiting.first().filter(|_| limits.may_start()) {
            Some(due) => timeout_at(due.into(), events_rx.recv()).await,
            None => Ok(events_rx.recv().await),
        };
        match event {
            Ok(Some(DrainEvent::Waiting(ledger))) => waiting.add(ledger.load_due(), ledger),
            Ok(Some(DrainEvent::Failed(ledger, due))) => waiting.add(due, ledger),
            Ok(Some(DrainEvent::Reloaded)) => waiting.try_now(),
            Ok(Some(DrainEvent::Free)) | Err(_) => {}
            Ok(None) => return,
        }
        while waiting.first().is_some_and(|due| due <= Instant::now()) {
            let Some(permits) = limits.take() else { break };
            if let Some(ledger) = waiting.take_first() {
                tokio::spawn(drain(registry.clone(), Arc::clone(&spool), ledger, permits));
            }
        }
    }
}

/// Looks a tracer up, and waits until it has loaded all it can for now.
async fn drain(registry: WeakRegistry, spool: Arc<Spool>, ledger: Arc<SelectorLedger>, permits: Permits) {
    let Permits { look_up, tracer } = permits;
    let found = if ledger.needs_tracer() {
        look_up_tracer(&registry, &ledger.selector).await
    } else {
        None
    };
    drop(look_up);
    spool.drain.send(DrainEvent::Free);
    match found {
        None => {}
        Some(Ok(found)) => {
            ledger.loaded(found.lane().as_ref()).await;
            drop(found);
            ledger.leave_drain();
            // The next look-up, if the tracer left the pool meanwhile.
            registry.load(&ledger);
        }
        Some(Err(error)) => {
            let due = if error.is_unknown() {
                Instant::now() + UNBOUND_WAIT
            } else {
                ledger.back_off()
            };
            spool.drain.send(DrainEvent::Failed(ledger, due));
        }
    }
    drop(tracer);
    spool.drain.send(DrainEvent::Free);
}

/// Returns `None` if the registry is gone.
async fn look_up_tracer(registry: &WeakRegistry, selector: &Selector) -> Option<Result<TracerHandle, LookupError>> {
    let registry = registry.hold()?;
    Some(registry.get_async(selector).await)
}

impl Limits {
    fn may_start(&self) -> bool {
        self.look_ups.available_permits() > 0 && self.tracers.available_permits() > 0
    }

    fn take(&self) -> Option<Permits> {
        let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_owned().ok();
        Some(Permits {
            look_up: take(&self.look_ups)?,
            tracer: take(&self.tracers)?,
        })
    }
}

impl WaitingSelectors {
    fn add(&mut self, due: Instant, ledger: Arc<SelectorLedger>) {
        self.numbers += 1;
        self.waiting.insert((due, self.numbers), ledger);
    }

    /// Returns when the first look-up is due.
    fn first(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    fn take_first(&mut self) -> Option<Arc<SelectorLedger>> {
        self.waiting.pop_first().map(|(_, ledger)| ledger)
    }

    /// Makes all look-ups due, and ends the back-offs of the selectors.
    fn try_now(&mut self) {
        let now = Instant::now();
        let all = std::mem::take(&mut self.waiting).into_iter();
        let again = all.map(|((_, number), ledger)| {
            ledger.try_now();
            ((now, number), ledger)
        });
        self.waiting = again.collect();
    }
}
