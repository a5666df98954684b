//! What a selector has on disk only, and when its lane may load it.
//!
//! Rows with a copy in memory are older than rows on disk only, and those are older than data that
//! is not committed yet. So a load takes the oldest rows, and appends them to the lane's queue.
//!
//! The ledger of the selector guards it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tracer_registry_spool::{Kind, QueueDepth};

use crate::export::accounting::counted_lane::CountedLane;

/// Most bytes that one load takes.
pub(crate) const LOAD_BYTES: usize = 512 << 10;

/// Waits after a receiver did not accept loaded rows: doubled each time.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A number of rows, and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// What one selector has on disk only.
#[derive(Default)]
pub(crate) struct Backlog {
    kinds: [OfKind; 2],
    bytes: u64,
    /// The newest tracer's lane in the pool, which alone loads.
    loader: Option<Weak<dyn CountedLane>>,
    /// Whether the drain knows that it needs a tracer.
    is_in_drain: bool,
    /// Notified when the loader may have loaded all it can for now.
    settled: Option<Arc<Notify>>,
}

struct OfKind {
    rows: u64,
    /// When the oldest row was accepted, in milliseconds since 1970, as far as known.
    oldest: Option<u64>,
    is_loading: bool,
    /// Counts what invalidates a load in progress: older rows came back, or another lane loads.
    epoch: u64,
    back_off: Duration,
    try_at: Option<Instant>,
    /// Whether a timer waits for `try_at`.
    is_timed: bool,
    /// Most bytes of the next load. Less than [`LOAD_BYTES`] if the last one did not fit in memory,
    /// where bodies are not compressed.
    load_bytes: usize,
}

/// What to do about the rows of one kind.
pub(crate) enum Next {
    /// Nothing, until something changes.
    Wait,
    /// Nothing before this time. A timer must be started.
    WaitUntil(Instant),
    /// No lane may load: the drain must find a tracer.
    NoLane,
    /// Load now. [`end_load`](Backlog::end_load) must follow.
    Load(Load),
}

/// The right to load.
pub(crate) struct Load {
    pub(crate) lane: Arc<dyn CountedLane>,
    pub(crate) kind: Kind,
    /// Most bytes to take.
    pub(crate) bytes: usize,
    /// Takes only rows before this place in the order.
    pub(crate) before: u64,
    epoch: u64,
}

impl Default for OfKind {
    fn default() -> Self {
        Self {
            rows: 0,
            oldest: None,
            is_loading: false,
            epoch: 0,
            back_off: Duration::ZERO,
            try_at: None,
            is_timed: false,
            load_bytes: LOAD_BYTES,
        }
    }
}

impl Backlog {
    /// Adds rows that are newer than all others of the selector.
    pub(crate) fn note_handed(&mut self, kind: Kind, rows: Rows, created: u64) {
        if self.is_empty(kind) {
            self.of(kind).oldest = Some(created);
        }
        self.add(kind, rows);
    }

    /// Adds rows that may be older than others on disk: their receiver did not accept them. Loads
    /// again after a back-off, and not before the time that the receiver asked for.
    pub(crate) fn note_released(&mut self, kind: Kind, rows: Rows, asked_until: Option<Instant>) {
        self.add(kind, rows);
        let of_kind = self.of(kind);
        of_kind.epoch += 1;
        of_kind.back_off(Instant::now(), asked_until);
        self.check_settled();
    }

    /// Adds rows that an opened store holds.
    pub(crate) fn note_recovered(&mut self, depth: &QueueDepth) {
        self.kinds[Kind::Spans as usize].rows += depth.span_rows;
        self.kinds[Kind::SessionEvents as usize].rows += depth.event_rows;
        self.bytes += depth.bytes;
    }

    /// Removes rows that the store deleted.
    pub(crate) fn note_lost(&mut self, depth: &QueueDepth) {
        for (kind, count) in [(Kind::Spans, depth.span_rows), (Kind::SessionEvents, depth.event_rows)] {
            self.remove(kind, Rows { count, bytes: 0 });
        }
        self.bytes = self.bytes.saturating_sub(depth.bytes);
        self.check_settled();
    }

    fn add(&mut self, kind: Kind, rows: Rows) {
        self.of(kind).rows += rows.count;
        self.bytes += rows.bytes;
    }

    /// Removes rows that were loaded, or dropped by a load.
    pub(crate) fn remove(&mut self, kind: Kind, rows: Rows) {
        let of_kind = self.of(kind);
        of_kind.rows = of_kind.rows.saturating_sub(rows.count);
        self.bytes = self.bytes.saturating_sub(rows.bytes);
    }

    /// Ends the back-off: the receiver accepted something.
    pub(crate) fn note_delivered(&mut self, kind: Kind) {
        self.of(kind).back_off = Duration::ZERO;
        self.of(kind).try_at = None;
    }

    /// Ends the current back-off, for a flush, a new key, or a changed binding.
    pub(crate) fn try_now(&mut self) {
        self.kinds.iter_mut().for_each(|of_kind| of_kind.try_at = None);
    }

    /// Starts a back-off: no tracer could be created, or the store failed.
    pub(crate) fn back_off(&mut self, kind: Kind) -> Instant {
        let now = Instant::now();
        self.of(kind).back_off(now, None);
        self.of(kind).try_at.unwrap_or(now)
    }

    /// Starts a back-off of all that is on disk only. Returns when it ends.
    pub(crate) fn back_off_all(&mut self) -> Instant {
        let ends = [Kind::Spans, Kind::SessionEvents].map(|kind| self.back_off(kind));
        ends[0].min(ends[1])
    }

    /// Returns when the drain may look for a tracer.
    pub(crate) fn due(&self) -> Instant {
        let kinds = self.kinds.iter().filter(|of_kind| of_kind.rows > 0);
        let now = Instant::now();
        kinds.map(|of_kind| of_kind.try_at.unwrap_or(now)).min().unwrap_or(now)
    }

    /// Sets the lane that loads from now on, or none. Returns the one before.
    pub(crate) fn set_loader(&mut self, lane: Option<Weak<dyn CountedLane>>) -> Option<Weak<dyn CountedLane>> {
        self.kinds.iter_mut().for_each(|of_kind| of_kind.epoch += 1);
        self.check_settled();
        std::mem::replace(&mut self.loader, lane)
    }

    /// Returns whether this lane loads.
    pub(crate) fn is_loader(&self, lane: &dyn CountedLane) -> bool {
        let loader = self.loader.as_ref();
        loader.is_some_and(|loader| std::ptr::addr_eq(loader.as_ptr(), lane))
    }

    /// Forgets all rows, also those that a load has taken: they were erased.
    pub(crate) fn clear(&mut self) {
        for of_kind in &mut self.kinds {
            of_kind.rows = 0;
            of_kind.epoch += 1;
        }
        self.bytes = 0;
    }

    /// Returns whether nothing of this kind is on disk only.
    pub(crate) fn is_empty(&self, kind: Kind) -> bool {
        self.kinds[kind as usize].rows == 0
    }

    /// Returns whether nothing is on disk only.
    pub(crate) fn is_drained(&self) -> bool {
        self.kinds.iter().all(|of_kind| of_kind.rows == 0)
    }

    /// Returns a signal to wait for until the lane has loaded all it can for now, or `None` if it
    /// has: nothing is left, its receiver did not accept what it loaded, it is paused, or it is not
    /// the loader.
    pub(crate) fn settling(&mut self, lane: &dyn CountedLane) -> Option<OwnedNotified> {
        let now = Instant::now();
        let is_done = |of_kind: &OfKind| of_kind.rows == 0 || of_kind.try_at.is_some_and(|at| at > now);
        let is_settled = !self.is_loader(lane) || lane.is_paused() || self.kinds.iter().all(is_done);
        (!is_settled).then(|| Arc::clone(self.settled.get_or_insert_default()).notified_owned())
    }

    /// Wakes what waits until the loader has loaded all it can for now, to check it.
    pub(crate) fn check_settled(&self) {
        if let Some(settled) = &self.settled {
            settled.notify_waiters();
        }
    }

    /// Returns whether rows are on disk only, and no lane loads them.
    pub(crate) fn needs_lane(&self) -> bool {
        let has_loader = self.loader.as_ref().is_some_and(|lane| lane.strong_count() > 0);
        !has_loader && !self.is_drained()
    }

    /// Ends the search for a tracer.
    pub(crate) fn leave_drain(&mut self) {
        self.is_in_drain = false;
    }

    /// Returns the bytes on disk only, and when the oldest of them was accepted, in milliseconds
    /// since 1970. The time is unknown until the store has found the rows of an earlier process.
    pub(crate) fn status(&self) -> (u64, Option<u64>) {
        let kinds = self.kinds.iter().filter(|of_kind| of_kind.rows > 0);
        (self.bytes, kinds.filter_map(|of_kind| of_kind.oldest).min())
    }

    /// Decides whether the loader takes rows of this kind now.
    pub(crate) fn next(&mut self, kind: Kind) -> Next {
        let now = Instant::now();
        let of_kind = &mut self.kinds[kind as usize];
        if of_kind.rows == 0 || of_kind.is_loading {
            return Next::Wait;
        }
        let Some(lane) = self.loader.as_ref().and_then(Weak::upgrade) else {
            let is_known = std::mem::replace(&mut self.is_in_drain, true);
            return if is_known { Next::Wait } else { Next::NoLane };
        };
        if let Some(at) = of_kind.try_at.filter(|at| *at > now) {
            let is_timed = std::mem::replace(&mut of_kind.is_timed, true);
            return if is_timed { Next::Wait } else { Next::WaitUntil(at) };
        }
        let room = lane.window_room().filter(|room| *room >= LOAD_BYTES);
        let Some(room) = room.filter(|_| !lane.is_paused()) else {
            return Next::Wait;
        };
        of_kind.is_loading = true;
        Next::Load(Load {
            kind,
            bytes: of_kind.load_bytes.min(room),
            before: lane.first_unsaved_order(kind),
            epoch: of_kind.epoch,
            lane,
        })
    }

    /// Ends the timer that [`WaitUntil`](Next::WaitUntil) started.
    pub(crate) fn end_timer(&mut self, kind: Kind) {
        self.of(kind).is_timed = false;
    }

    /// Returns whether rows that a load took may be queued.
    pub(crate) fn is_valid(&self, load: &Load) -> bool {
        self.kinds[load.kind as usize].epoch == load.epoch && self.is_loader(load.lane.as_ref())
    }

    /// Notes when the oldest row was accepted that was found at the start, unless one was loaded
    /// since.
    pub(crate) fn note_found(&mut self, kind: Kind, created: u64) {
        let of_kind = self.of(kind);
        if of_kind.rows > 0 {
            of_kind.oldest.get_or_insert(created);
        }
    }

    /// Notes when the oldest row was accepted.
    pub(crate) fn note_oldest(&mut self, kind: Kind, created: u64) {
        self.of(kind).oldest = Some(created);
    }

    /// Ends a load that queued `queued` bytes of bodies. If it queued and dropped nothing, the next
    /// one waits.
    pub(crate) fn end_load(&mut self, load: &Load, queued: usize, fit: bool, is_moving: bool) {
        let is_valid = self.is_valid(load);
        let of_kind = self.of(load.kind);
        of_kind.is_loading = false;
        if fit {
            of_kind.load_bytes = (of_kind.load_bytes * 2).min(LOAD_BYTES);
        } else if queued > 0 {
            of_kind.load_bytes = queued.min(LOAD_BYTES);
        }
        if is_valid && !is_moving {
            of_kind.back_off(Instant::now(), None);
        }
        self.check_settled();
    }

    fn of(&mut self, kind: Kind) -> &mut OfKind {
        &mut self.kinds[kind as usize]
    }
}

impl OfKind {
    /// Starts a back-off. One in progress is not doubled, because several batches may fail at once.
    fn back_off(&mut self, now: Instant, asked_until: Option<Instant>) {
        let (shortest, longest) = BACK_OFF;
        if self.try_at.is_none_or(|at| at <= now) {
            self.back_off = (self.back_off * 2).clamp(shortest, longest);
            self.try_at = Some(now + self.back_off.mul_f64(rand::rng().random_range(0.5..=1.0)));
        }
        self.try_at = self.try_at.max(asked_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64, bytes: u64) -> Rows {
        Rows { count, bytes }
    }

    #[test]
    fn a_back_off_doubles_to_a_minute_and_ends_with_a_delivery() {
        let mut now = Instant::now();
        let mut of_kind = OfKind::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            of_kind.back_off(now, None);
            let until = of_kind.try_at.expect("a back-off");
            let wait = until - now;
            // Another batch that fails meanwhile.
            of_kind.back_off(now, None);
            assert_eq!(of_kind.try_at, Some(until));
            assert!(of_kind.back_off / 2 <= wait && wait <= of_kind.back_off, "{wait:?}");
            waits.push(of_kind.back_off.as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);

        let mut backlog = Backlog::default();
        backlog.back_off(Kind::Spans);
        backlog.back_off(Kind::SessionEvents);
        backlog.note_delivered(Kind::Spans);
        let [spans, events] = &backlog.kinds;
        assert_eq!((spans.back_off, spans.try_at), (Duration::ZERO, None));
        assert!(events.try_at.is_some(), "each kind has its own");
        backlog.try_now();
        let events = &backlog.kinds[1];
        assert_eq!((events.back_off, events.try_at), (Duration::from_secs(1), None));
    }

    #[test]
    fn a_back_off_lasts_at_least_as_long_as_the_receiver_asked() {
        let asked = Instant::now() + Duration::from_secs(600);
        let mut backlog = Backlog::default();
        backlog.note_released(Kind::Spans, rows(1, 10), Some(asked));
        backlog.note_released(Kind::Spans, rows(1, 10), None);
        assert_eq!(backlog.kinds[0].try_at, Some(asked));
    }

    #[test]
    fn bytes_and_age_are_those_of_rows_on_disk_only() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.status(), (0, None));
        let depth = |span_rows, bytes| QueueDepth {
            queue: "tenant:acme".into(),
            spans: 9,
            events: 0,
            span_rows,
            event_rows: 0,
            bytes,
        };
        backlog.note_recovered(&depth(2, 20));
        assert_eq!(backlog.status(), (20, None), "unknown");
        backlog.note_found(Kind::SessionEvents, 3);
        backlog.note_found(Kind::Spans, 5);
        assert_eq!(backlog.status(), (20, Some(5)), "of those that there are");
        backlog.note_oldest(Kind::Spans, 7);
        backlog.note_found(Kind::Spans, 5);
        assert_eq!(backlog.status(), (20, Some(7)), "5 was loaded");
        backlog.note_handed(Kind::Spans, rows(1, 5), 9);
        backlog.note_handed(Kind::SessionEvents, rows(1, 1), 8);
        assert_eq!(backlog.status(), (26, Some(7)));
        backlog.note_lost(&depth(3, 25));
        assert_eq!(backlog.status(), (1, Some(8)));
        assert!(backlog.is_empty(Kind::Spans) && !backlog.is_empty(Kind::SessionEvents));
        backlog.note_handed(Kind::Spans, rows(1, 5), 10);
        assert_eq!(backlog.status(), (6, Some(8)));
    }

    #[test]
    fn without_a_tracer_rows_wait_for_one() {
        let mut backlog = Backlog::default();
        assert!(matches!(backlog.next(Kind::Spans), Next::Wait));
        backlog.note_handed(Kind::Spans, rows(1, 5), 1);
        assert!(matches!(backlog.next(Kind::Spans), Next::NoLane));
        assert!(matches!(backlog.next(Kind::Spans), Next::Wait), "the drain knows");
        backlog.leave_drain();
        assert!(matches!(backlog.next(Kind::Spans), Next::NoLane));
        assert!(matches!(backlog.next(Kind::SessionEvents), Next::Wait));
    }
}
