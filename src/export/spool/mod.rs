//! Data that waits on disk: rows of the store, and the ways of a lane's data to it and back.
//!
//! | file | owns |
//! |---|---|
//! | `backlog` | what a selector has on disk alone |
//! | `load` | rows on disk to lanes |
//! | `pace` | how fast rows are loaded |
//! | `drain_events` | selectors with rows and no lane |
//! | `row` | rows from payloads and session events, and back |
//! | `persist` | saves staged spans |
//! | `hand_over` | batches in flight that go back to disk |

pub(super) mod backlog;
pub(super) mod drain_events;
pub(super) mod hand_over;
pub(super) mod load;
mod pace;
pub(crate) mod persist;
pub(crate) mod row;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracer_registry_spool::{Health, Recovery, Store};

use crate::config::SpoolMode;
use drain_events::DrainEvents;
use pace::Pace;

/// Order numbers of one chunk. A row with a part of a chunk has the number of its first span.
const STEP: u64 = 1 << 16;

/// The store of a registry, and what all lanes know of it.
pub(crate) struct Spool {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mode: SpoolMode,
    /// Data that waits for longer is dropped.
    pub(crate) max_age: Duration,
    pub(crate) pace: Pace,
    /// Selectors that need a tracer.
    pub(crate) drain: DrainEvents,
    /// The first order number of this process.
    first_order: u64,
    next_order: AtomicU64,
    generation: AtomicU64,
    health: AtomicU8,
    is_handing_over: AtomicBool,
}

impl Spool {
    pub(crate) fn new(store: Arc<dyn Store>, mode: SpoolMode, max_age: Duration, drain_rate: usize) -> Arc<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A start without a file cannot know the last number, so numbers grow with time. Larger than
        // any of an earlier process, unless it accepted more than a chunk each millisecond.
        let first = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_mul(STEP);
        let first_order = first.min(u64::MAX / 4);
        Arc::new(Self {
            health: AtomicU8::new(number(store.depth().health)),
            store,
            mode,
            max_age,
            pace: Pace::new(drain_rate),
            drain: DrainEvents::default(),
            first_order,
            next_order: AtomicU64::new(first_order),
            generation: AtomicU64::new(0),
            is_handing_over: AtomicBool::new(false),
        })
    }

    /// Continues the numbers of an opened store. Call before its rows are counted.
    pub(crate) fn recover(&self, recovery: &Recovery) {
        self.next_order.fetch_max(recovery.next_order, Ordering::SeqCst);
        self.generation.fetch_max(recovery.generation, Ordering::SeqCst);
    }

    /// Returns the order number of a chunk with this many spans.
    ///
    /// Call under the lock that orders the chunks of a lane.
    pub(crate) fn next_order(&self, spans: u64) -> u64 {
        let step = spans.max(1).next_multiple_of(STEP);
        self.next_order.fetch_add(step, Ordering::Relaxed)
    }

    /// Returns whether an earlier process accepted the data with this order number.
    pub(crate) fn is_of_earlier_process(&self, order: u64) -> bool {
        order < self.first_order
    }

    /// Returns the generation of purges. Data that is accepted now belongs to it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Notes the generation after a purge.
    pub(crate) fn note_generation(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::SeqCst);
    }

    /// Returns whether the store works. Takes no lock.
    pub(crate) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Working,
            1 => Health::Full,
            _ => Health::Failing,
        }
    }

    /// Records what the store reported.
    pub(crate) fn note_health(&self, health: Health) {
        self.health.store(number(health), Ordering::Relaxed);
    }

    /// Returns whether lanes leave everything on disk: the registry shuts down.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.is_handing_over.load(Ordering::SeqCst)
    }

    /// Makes lanes leave everything on disk.
    pub(crate) fn begin_hand_over(&self) {
        self.is_handing_over.store(true, Ordering::SeqCst);
    }
}

fn number(health: Health) -> u8 {
    match health {
        Health::Working => 0,
        Health::Full => 1,
        Health::Failing => 2,
    }
}
