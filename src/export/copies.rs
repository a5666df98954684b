//! Where else the spans of a lane go: to tracers that the operator named.
//!
//! A target is shared by all lanes that copy to it. It is empty while its tracer cannot be created;
//! copies are then counted as lost in the ledger of its selector. The registry fills it. Lanes and
//! targets do not know each other's queues: what one refuses does not concern the other.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};

use super::accounting::selector_ledger::SelectorLedger;
use crate::selector::Selector;
use crate::util::fork::{ForkLock, wait_timeout};

/// The targets of one lane. `L` is the type of lanes.
pub(crate) struct Copies<L> {
    targets: Vec<Arc<CopyTarget<L>>>,
    /// Whether values were cut from an open span of the lane.
    has_cut_values: AtomicBool,
    /// Whether the data of the lane was erased.
    is_stopped: AtomicBool,
}

/// A tracer that gets copies.
pub(crate) struct CopyTarget<L> {
    pub(crate) selector: Selector,
    tracer: ArcSwapOption<TargetTracer<L>>,
    ledger: Arc<SelectorLedger>,
    began: Instant,
    /// Whether the first look-up of the tracer has ended.
    is_tried: ForkLock<bool>,
    tried: Condvar,
}

/// The tracer of a target.
pub(crate) struct TargetTracer<L> {
    pub(crate) lane: Arc<L>,
    /// Handle of the tracer, so that the pool does not evict it.
    pub(crate) handle: Arc<dyn Any + Send + Sync>,
}

impl<L> Copies<L> {
    pub(crate) fn new(targets: Vec<Arc<CopyTarget<L>>>) -> Self {
        Self {
            targets,
            has_cut_values: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Returns the targets that get copies now: none after the data of the lane was erased.
    #[inline]
    pub(crate) fn targets(&self) -> &[Arc<CopyTarget<L>>] {
        // Relaxed: a span that ends while its data is erased may be copied or not.
        if self.is_stopped.load(Ordering::Relaxed) {
            &[]
        } else {
            &self.targets
        }
    }

    /// Returns the targets also after an erase.
    pub(crate) fn all_targets(&self) -> &[Arc<CopyTarget<L>>] {
        &self.targets
    }

    /// Copies nothing from now on.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Records that a value was cut from a span before it ended.
    pub(crate) fn note_cut(&self) {
        // Relaxed: the span ends after this, and its count is behind the lane's lock.
        self.has_cut_values.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_cut_values(&self) -> bool {
        self.has_cut_values.load(Ordering::Relaxed)
    }
}

impl<L> CopyTarget<L> {
    pub(crate) fn new(selector: Selector, ledger: Arc<SelectorLedger>) -> Self {
        Self {
            selector,
            tracer: ArcSwapOption::empty(),
            ledger,
            began: Instant::now(),
            is_tried: ForkLock::default(),
            tried: Condvar::new(),
        }
    }

    /// Returns the tracer, if it could be created.
    #[inline]
    pub(crate) fn tracer(&self) -> Guard<Option<Arc<TargetTracer<L>>>> {
        self.tracer.load()
    }

    /// Returns whether copies reach a tracer.
    pub(crate) fn works(&self) -> bool {
        self.tracer().is_some()
    }

    /// Sets the tracer that later copies go to.
    pub(crate) fn set(&self, tracer: Option<TargetTracer<L>>) {
        // The old one is dropped here, where no lock is held.
        drop(self.tracer.swap(tracer.map(Arc::new)));
    }

    /// Counts copies as lost because there is no tracer. Runs on application threads.
    #[cold]
    pub(crate) fn note_lost(&self, spans: u64) {
        self.ledger.refuse_copies(spans);
    }

    /// Marks the first look-up as ended.
    pub(crate) fn note_tried(&self) {
        *self.is_tried.lock() = true;
        self.tried.notify_all();
    }

    /// Waits for the end of the first look-up, until `max` after the target was created.
    pub(crate) fn await_first_look_up(&self, max: Duration) {
        let mut is_tried = self.is_tried.lock();
        while !*is_tried {
            let Some(left) = max.checked_sub(self.began.elapsed()) else {
                return;
            };
            is_tried = wait_timeout(&self.tried, is_tried, left).0;
        }
    }
}
