//! Spans of a durable lane that are on their way to disk, and the rows of those that are there.
//!
//! | staged spans | event | next |
//! |---|---|---|
//! | idle | a span is queued | timed (ready, if one span is a full batch) |
//! | timed | a full batch is queued, a flush starts, the lane becomes durable, the tracer is dropped | ready |
//! | timed | the delay elapses, or memory is under pressure | running |
//! | ready | the engine starts it | running |
//! | running | all due spans are on disk, some spans are left | timed |
//! | running | all due spans are on disk, none is left | idle |

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_registry_spool::Kind;

use super::schedule::{MakeEvent, Schedule};
use super::tickets::Tickets;
use crate::config::SpoolMode;
use crate::export::queue::encoded::Encoded;
use crate::export::queue::span_queue::{Batch, ChunkPool, Queue};
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::spool::Spool;
use crate::export::spool::row::Place;
use crate::selector::{Selector, SelectorKind};

/// For how long newer rows on disk wait for staged spans that the disk has no room for.
const LONGEST_WAIT_FOR_ROOM: Duration = Duration::from_secs(30);

/// What a lane has on disk, or on its way there.
pub(crate) struct LaneSpool {
    /// Text of the selector, as the store's queue.
    queue: Arc<str>,
    /// The store's owner of the rows.
    owner: Arc<str>,
    /// Generation of purges when the lane was opened. So a purge refuses what the lane appends
    /// later.
    generation: u64,
    /// By kind: whether new data goes to disk first.
    pub(crate) is_durable: [bool; 2],
    /// Newer than all rows of the lane.
    pub(crate) staged: Queue,
    schedule: Schedule,
    timed_until: Option<Instant>,
    /// Staged spans that do not wait for more.
    due: usize,
    /// A batch that is being saved.
    pub(crate) saving: Option<Saving>,
    /// Requests of clients that are being saved.
    pub(crate) placing: usize,
    pub(crate) tickets: Tickets,
    /// Whether the engine was notified that the lane must spill.
    pub(crate) wants_spill: bool,
    /// Since when saves meet a full disk, or a full share of it.
    pub(crate) full_since: Option<Instant>,
}

/// A staged batch that is being saved. It counts as queued.
pub(crate) struct Saving {
    pub(crate) order: u64,
    pub(crate) spans: u64,
    pub(crate) bytes: usize,
}

impl LaneSpool {
    pub(crate) fn new(selector: &Selector, spool: &Spool) -> Self {
        let queue: Arc<str> = selector.to_string().into();
        let mut tenant = selector.parts().filter(|(kind, _)| *kind == SelectorKind::Tenant);
        let owner = tenant.next().map(|(_, name)| name.as_str().into());
        Self {
            owner: owner.unwrap_or_else(|| Arc::clone(&queue)),
            queue,
            generation: spool.generation(),
            is_durable: [spool.mode == SpoolMode::Through; 2],
            staged: Queue::default(),
            schedule: Schedule::Idle,
            timed_until: None,
            due: 0,
            saving: None,
            placing: 0,
            tickets: Tickets::default(),
            wants_spill: false,
            full_since: None,
        }
    }

    /// Returns where a row with this order number belongs.
    pub(crate) fn place(&self, order: u64) -> Place {
        Place {
            queue: Arc::clone(&self.queue),
            owner: Arc::clone(&self.owner),
            generation: self.generation,
            order,
        }
    }

    #[inline]
    pub(crate) fn is_durable(&self, kind: Kind) -> bool {
        self.is_durable[kind as usize]
    }

    /// Returns the number of staged spans, and of those that are being saved.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        let saving = self.saving.as_ref().map_or(0, |saving| saving.spans);
        self.staged.len() + usize::try_from(saving).unwrap_or(usize::MAX)
    }

    /// Returns how many of them a flush waits for that begins at this order number.
    pub(crate) fn before_flush(&self, order: u64) -> u64 {
        let saving = self.saving.as_ref().filter(|saving| saving.order < order);
        self.staged.before_flush(order) + saving.map_or(0, |saving| saving.spans)
    }

    /// Returns the order number of the oldest span that is in memory alone, if it has one.
    pub(crate) fn first_unsaved(&self) -> Option<u64> {
        let saving = self.saving.as_ref().map(|saving| saving.order);
        saving.or(self.staged.first_order())
    }

    /// Notes whether a save met a full disk.
    pub(crate) fn note_full_disk(&mut self, is_full: bool) {
        let since = self.full_since.filter(|_| is_full);
        self.full_since = since.or_else(|| is_full.then(Instant::now));
    }

    /// Returns whether the disk had no room for staged spans.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.full_since.is_some() && self.held() > 0
    }

    /// Returns the order number that loaded rows must be below. Rows that were on their way when the
    /// disk was full may be newer than staged spans: these do not wait forever for room that the
    /// rows occupy.
    pub(crate) fn first_to_wait_for(&self) -> Option<u64> {
        let since = self.full_since.filter(|since| since.elapsed() >= LONGEST_WAIT_FOR_ROOM);
        if since.is_some() { None } else { self.first_unsaved() }
    }

    /// Returns whether spans are on their way to disk.
    pub(crate) fn is_saving(&self) -> bool {
        self.saving.is_some() || self.placing > 0
    }

    #[inline]
    pub(crate) fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Schedules spans that were staged. Returns the event if the schedule changed.
    #[inline]
    pub(crate) fn note_staged(&mut self, full_batch: usize, delay: Duration) -> Option<MakeEvent> {
        if self.staged.len() >= full_batch {
            self.note_full(full_batch);
            return self.make_ready();
        }
        let idle = self.schedule == Schedule::Idle;
        if idle {
            self.start_timer(delay);
        }
        idle.then_some(EngineEvent::Timed)
    }

    fn note_full(&mut self, full_batch: usize) {
        self.due = self.due.max(self.staged.len() - self.staged.len() % full_batch);
    }

    fn make_ready(&mut self) -> Option<MakeEvent> {
        let changed = matches!(self.schedule, Schedule::Idle | Schedule::Timed);
        if changed {
            self.schedule = Schedule::Ready;
        }
        changed.then_some(EngineEvent::Ready)
    }

    /// Makes all staged spans due. Returns the event if the schedule changed.
    pub(crate) fn make_due(&mut self) -> Option<MakeEvent> {
        if self.staged.is_empty() {
            return None;
        }
        self.due = self.staged.len();
        self.make_ready()
    }

    fn start_timer(&mut self, delay: Duration) {
        self.schedule = Schedule::Timed;
        self.timed_until = Instant::now().checked_add(delay);
    }

    /// Starts saving, if the schedule allows it for this cause.
    pub(crate) fn start(&mut self, cause: Cause) -> bool {
        let is_timed = self.schedule == Schedule::Timed;
        let starts = match cause {
            Cause::Ready => self.schedule == Schedule::Ready,
            Cause::Deadline(now) => is_timed && self.timed_until.is_some_and(|until| until <= now),
            Cause::Memory => is_timed,
        };
        if starts {
            if cause != Cause::Ready {
                self.due = self.staged.len();
            }
            self.schedule = Schedule::Running;
        }
        starts
    }

    /// Takes the next due batch to save. If there is none, saving ends: returns the event of the new
    /// schedule, if any.
    pub(crate) fn take(
        &mut self,
        (max, full_batch, delay): (usize, usize, Duration),
        chunks: &ChunkPool,
        next_order: impl FnOnce(u64) -> u64,
    ) -> Result<Batch, Option<MakeEvent>> {
        if self.schedule != Schedule::Running {
            return Err(None);
        }
        self.note_full(full_batch);
        if self.staged.is_empty() {
            (self.schedule, self.due) = (Schedule::Idle, 0);
            return Err(None);
        }
        if self.due == 0 {
            self.start_timer(delay);
            return Err(Some(EngineEvent::Timed));
        }
        let mut batch = self.staged.take(max, chunks);
        batch.number_chunks(next_order);
        self.due = self.due.saturating_sub(batch.len());
        self.saving = Some(Saving {
            order: batch.order(&(0..1)),
            spans: batch.len() as u64,
            bytes: batch.bytes(),
        });
        Ok(batch)
    }

    /// Stages spans that were not saved again. Call for the newest first.
    pub(crate) fn put_back(&mut self, spans: Encoded, order: u64, bytes: usize) {
        self.due += spans.len();
        self.staged.put_back(spans, order, bytes);
    }

    /// Returns all staged spans, because the lane is not durable any more. A task that saves ends by
    /// itself.
    pub(crate) fn take_all(&mut self) -> Queue {
        self.due = 0;
        self.full_since = None;
        if self.schedule != Schedule::Running {
            self.schedule = Schedule::Idle;
        }
        std::mem::take(&mut self.staged)
    }
}
