//! The ledger of a selector, across all tracers that it ever had, and what it has on disk.

#[cfg(feature = "metrics")]
use std::sync::OnceLock;
use std::sync::{Arc, MutexGuard};
#[cfg(feature = "spool")]
use std::time::Duration;
use std::time::SystemTime;

#[cfg(feature = "spool")]
use tracer_registry_spool::Kind;

#[cfg(feature = "metrics")]
use super::counted_lane::Starts;
use super::counted_lane::{CountedLane, Failures, FlushMark, LaneSnapshot, LaneSummary, Pending, Spooled};
use super::eviction::{EvictedLedgers, Eviction, IdleSelectors};
use super::lane_status::{RedactionStatus, RefusedSpan};
use super::pause_gate::PauseGate;
use super::refused::RefusedBatches;
use super::report::TracerReport;
use crate::export::log::episodes::Episodes;
use crate::export::net::connections::Connections;
#[cfg(feature = "spool")]
use crate::export::spool::backlog::Backlog;
use crate::ledger::{DropReason, Ledgers};
use crate::secret::Fingerprint;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// The ledger of one selector.
pub(crate) struct SelectorLedger {
    pub(crate) selector: Selector,
    pub(super) state: ForkLock<State>,
    /// Where it is listed when its last lane is retired.
    idle: Arc<IdleSelectors>,
    pub(crate) gate: PauseGate,
    /// Log state of its problems.
    pub(crate) episodes: Episodes,
    /// The last refused batches.
    pub(crate) refused: RefusedBatches,
    /// Set by the first look-up.
    #[cfg(feature = "metrics")]
    pub(crate) metrics: OnceLock<MetricsEntry>,
}

/// Metrics data of a selector besides its ledger.
#[cfg(feature = "metrics")]
pub(crate) struct MetricsEntry {
    /// Number of selectors that were looked up before.
    pub(crate) number: usize,
    /// URL that spans are sent to.
    pub(crate) traces_url: String,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) lanes: Vec<OpenLane>,
    /// Totals of retired lanes, and of what was on disk without a lane.
    pub(super) retired: Retired,
    /// What is on disk alone. Boxed, because most selectors have nothing there.
    #[cfg(feature = "spool")]
    pub(super) backlog: Option<Box<Backlog>>,
    /// Whether it is in the list of selectors without lanes.
    listed: Listed,
}

pub(super) struct OpenLane {
    pub(super) lane: Arc<dyn CountedLane>,
    /// Its ledgers at the last report, or `None` before the first.
    reported: Option<Box<Ledgers>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    No,
    Yes,
    /// Listed, and had a lane since then.
    Used,
}

#[derive(Default)]
pub(super) struct Retired {
    pub(super) ledgers: Ledgers,
    #[cfg(feature = "metrics")]
    starts: Starts,
    // Boxed, because most selectors have none.
    failures: Option<Box<Failures>>,
    refused_span: Option<Box<RefusedSpan>>,
    last_delivery: Option<SystemTime>,
    redaction: Option<Box<RedactionStatus>>,
    reported: Ledgers,
}

/// A flush of all lanes of a selector.
pub(crate) struct SelectorFlush {
    pub(crate) lanes: Vec<(Arc<dyn CountedLane>, FlushMark)>,
    before: Ledgers,
}

#[cfg(feature = "metrics")]
impl MetricsEntry {
    pub(crate) fn new(number: usize, traces_url: &str) -> Self {
        Self {
            number,
            traces_url: traces_url.to_owned(),
        }
    }
}

impl SelectorLedger {
    pub(crate) fn new(selector: Selector, idle: Arc<IdleSelectors>) -> Arc<Self> {
        Arc::new(Self {
            selector,
            state: ForkLock::default(),
            idle,
            gate: PauseGate::default(),
            episodes: Episodes::default(),
            refused: RefusedBatches::default(),
            #[cfg(feature = "metrics")]
            metrics: OnceLock::new(),
        })
    }

    /// Creates a ledger without a registry.
    #[cfg(test)]
    pub(crate) fn standalone(selector: &Selector) -> Arc<Self> {
        Self::new(selector.clone(), IdleSelectors::new(Arc::default()))
    }

    pub(crate) fn open(&self, lane: Arc<dyn CountedLane>) {
        let mut state = self.state.lock();
        #[cfg(feature = "spool")]
        let older = state.load_with(&lane);
        // Most selectors have one lane at a time.
        state.lanes.reserve_exact(1);
        state.lanes.push(OpenLane { lane, reported: None });
        if state.listed != Listed::No {
            state.listed = Listed::Used;
        }
        drop(state);
        #[cfg(feature = "spool")]
        Self::release_window(older);
    }

    /// Leaves what all lanes have in memory on disk, as far as they have a spool.
    #[cfg(feature = "spool")]
    pub(crate) fn hand_over(&self) {
        let lanes = self.state.lock().lanes();
        for kind in [Kind::Spans, Kind::SessionEvents] {
            self.set_durable(kind, true);
            for lane in &lanes {
                lane.release_window(kind);
            }
        }
    }

    /// Makes new data of all lanes go to disk first, or not.
    #[cfg(feature = "spool")]
    pub(crate) fn set_durable(&self, kind: Kind, durable: bool) {
        let state = self.state.lock();
        let lanes = state.lanes.iter().map(|open| &open.lane);
        for lane in lanes.filter(|lane| lane.is_spooled()) {
            Arc::clone(lane).set_durable(kind, durable);
        }
    }

    /// Counts copies that were lost because the selector has no tracer. Runs on application threads.
    pub(crate) fn refuse_copies(&self, spans: u64) {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        state.retired.ledgers.spans.refuse_all(spans, DropReason::NoTracer);
        #[cfg(feature = "metrics")]
        {
            state.retired.starts.recorded += spans;
        }
        self.list_if_idle(state);
    }

    /// Merges the ledgers of a lane without pending data. Holds this ledger's lock, so a snapshot
    /// counts them once. Rows may have been loaded since the lane was found to be empty: then it
    /// stays, and retires when they have an outcome.
    pub(crate) fn retire(&self, lane: &dyn CountedLane) {
        let mut state = self.state.lock();
        let Some(at) = state.position(lane) else { return };
        let snapshot = state.lanes[at].lane.snapshot();
        if snapshot.ledgers.spans.pending() + snapshot.ledgers.events.pending() > 0 {
            return;
        }
        let OpenLane { reported, .. } = state.lanes.remove(at);
        #[cfg(feature = "spool")]
        state.end_loads(lane);
        let retired = &mut state.retired;
        retired.ledgers.add(&snapshot.ledgers);
        #[cfg(feature = "metrics")]
        retired.starts.add(snapshot.starts);
        retired.reported.add(&reported.as_deref().copied().unwrap_or_default());
        retired.failures = snapshot.failures.map(Box::new).or(retired.failures.take());
        retired.refused_span = snapshot.refused_span.map(Box::new).or(retired.refused_span.take());
        retired.last_delivery = retired.last_delivery.max(snapshot.last_delivery);
        if !snapshot.redaction.is_empty() {
            retired.redaction.get_or_insert_default().add(&snapshot.redaction);
        }
        self.list_if_idle(state);
    }

    /// Lists it for eviction if it has neither lanes nor anything on disk, and is not listed.
    fn list_if_idle(&self, mut state: MutexGuard<'_, State>) {
        let list = state.is_idle() && state.listed == Listed::No;
        if list {
            state.listed = Listed::Yes;
        }
        drop(state);
        if list {
            self.idle.list(self.selector.clone());
        }
    }

    /// Runs `work` with the ledger locked: on what is on disk alone, and on the totals that belong
    /// to no lane. It may lock a lane, but must not call this ledger. All moves between lanes and
    /// the disk happen in it, so that a snapshot counts each span once.
    #[cfg(feature = "spool")]
    pub(crate) fn on_disk<T>(&self, work: impl FnOnce(&mut Backlog, &mut Ledgers) -> T) -> T {
        let mut state = self.state.lock();
        let State { backlog, retired, .. } = &mut *state;
        let done = work(backlog.get_or_insert_default(), &mut retired.ledgers);
        self.list_if_idle(state);
        done
    }

    /// Returns what is on disk only.
    pub(crate) fn spooled(&self) -> Spooled {
        #[cfg(feature = "spool")]
        return self.state.lock().spooled();
        #[cfg(not(feature = "spool"))]
        Spooled::default()
    }

    /// Drops what is on disk only, because the store has deleted it. Returns it.
    #[cfg(feature = "spool")]
    pub(crate) fn purge_disk(&self) -> Spooled {
        let mut state = self.state.lock();
        let spooled = state.spooled();
        let State { backlog, retired, .. } = &mut *state;
        retired.ledgers.spans.drop_on_disk(spooled.spans, DropReason::Purged);
        retired.ledgers.events.drop_on_disk(spooled.events, DropReason::Purged);
        if let Some(backlog) = backlog {
            backlog.clear();
        }
        self.list_if_idle(state);
        spooled
    }

    /// Decides on the eviction of this ledger. `alone`: there is no other owner, so no lane can be
    /// opened meanwhile.
    pub(crate) fn eviction(&self, alone: bool) -> Eviction {
        let mut state = self.state.lock();
        if !state.is_idle() {
            state.listed = Listed::No;
            return Eviction::Open;
        }
        // A pause outlives its tracers.
        if !alone || state.listed == Listed::Used || self.gate.is_closed() {
            state.listed = Listed::Yes;
            return Eviction::Again;
        }
        let Retired { ledgers, reported, .. } = &state.retired;
        if ledgers.since(reported).has_dropped() {
            Eviction::Unreported
        } else {
            Eviction::Evict
        }
    }

    /// Stops sending for all lanes, also for later ones. Returns whether it was not paused.
    pub(crate) fn pause(&self) -> bool {
        // Under the lock: an eviction checks the gate there.
        let state = self.state.lock();
        let was_open = self.gate.close();
        let lanes = state.lanes();
        #[cfg(feature = "spool")]
        state.check_settled();
        drop(state);
        for lane in lanes {
            lane.note_paused();
        }
        was_open
    }

    /// Continues sending. Returns whether it was paused.
    pub(crate) fn resume(&self) -> bool {
        if !self.gate.is_closed() {
            return false;
        }
        let mut state = self.state.lock();
        let lanes = state.lanes();
        // Without a tracer since its pause, it was never listed.
        let list = state.is_idle() && state.listed == Listed::No;
        if list {
            state.listed = Listed::Yes;
        }
        drop(state);
        for lane in lanes {
            lane.note_resuming();
        }
        let was_closed = self.gate.open();
        if list {
            self.idle.list(self.selector.clone());
        }
        was_closed
    }

    /// Adds a ledger without lanes to the evicted totals.
    pub(super) fn add_to(&self, evicted: &mut EvictedLedgers) {
        let retired = &self.state.lock().retired;
        evicted.names += 1;
        #[cfg(feature = "metrics")]
        evicted.starts.add(retired.starts);
        evicted.ledgers.add(&retired.ledgers);
        evicted.redacted += retired.redaction.as_ref().map_or(0, |redaction| redaction.total());
        evicted.reported.add(&retired.reported);
    }

    /// Starts a flush of all lanes of the selector.
    pub(crate) fn begin_flush(&self) -> SelectorFlush {
        let state = self.state.lock();
        let (lanes, before) = (state.lanes(), state.reported());
        drop(state);
        let lanes = lanes.into_iter().map(|lane| {
            let mark = Arc::clone(&lane).begin_flush();
            (lane, mark)
        });
        SelectorFlush {
            lanes: lanes.collect(),
            before,
        }
    }

    /// Reports everything since the report before the flush, and what is pending of the flush.
    pub(crate) fn report(&self, flush: &SelectorFlush) -> TracerReport {
        // Read pending before the ledgers: data that completes in between is then reported twice
        // instead of not at all.
        let pending = flush.pending();
        let mut state = self.state.lock();
        let snapshots = state.snapshots();
        state.report(&snapshots);
        let all = state.sum(snapshots);
        drop(state);
        let since = all.ledgers.since(&flush.before);
        TracerReport::new(self.selector.clone(), &since, pending, &all.ledgers, all.failures)
    }

    /// Returns the ledgers of one lane as of its last report.
    pub(crate) fn reported_of(&self, lane: &dyn CountedLane) -> Ledgers {
        let state = self.state.lock();
        let reported = state.position(lane).and_then(|at| state.lanes[at].reported.as_deref());
        reported.copied().unwrap_or_default()
    }

    /// Reports everything of one lane since the report before its flush, and what is pending of the
    /// flush.
    pub(crate) fn report_lane(&self, lane: &dyn CountedLane, mark: &FlushMark, before: &Ledgers) -> TracerReport {
        // Before the ledgers, as in `report`.
        let pending = lane.pending(mark);
        let mut state = self.state.lock();
        let now = lane.snapshot();
        if let Some(at) = state.position(lane) {
            state.lanes[at].reported = Some(Box::new(now.ledgers));
        }
        // What is on disk belongs to the selector.
        let all = state.ledgers();
        drop(state);
        let since = now.ledgers.since(before);
        TracerReport::new(self.selector.clone(), &since, pending, &all, now.failures)
    }

    /// Closes all lanes. Drops and counts everything pending.
    pub(crate) fn abandon(&self) {
        // Cloned, because a lane that retires meanwhile locks this ledger.
        let lanes = self.state.lock().lanes();
        for lane in lanes {
            lane.abandon();
        }
    }

    /// Closes all lanes. Drops and counts everything pending, and what arrives later.
    pub(crate) fn close(&self, reason: DropReason) {
        // Cloned, because a lane that retires meanwhile locks this ledger.
        let lanes = self.state.lock().lanes();
        for lane in lanes {
            lane.close(reason);
        }
    }

    pub(crate) fn snapshot(&self) -> LaneSnapshot {
        let state = self.state.lock();
        state.sum(state.snapshots())
    }

    /// Like [`snapshot`](Self::snapshot), but without texts.
    pub(crate) fn summary(&self) -> LaneSummary {
        let state = self.state.lock();
        let retired = &state.retired;
        let mut all = LaneSummary {
            ledgers: retired.ledgers,
            #[cfg(feature = "metrics")]
            starts: retired.starts,
            last_delivery: retired.last_delivery,
            #[cfg(feature = "metrics")]
            redaction: retired.redaction.as_deref().cloned().unwrap_or_default(),
            ..LaneSummary::default()
        };
        for open in &state.lanes {
            all.add(&open.lane.summary());
        }
        all
    }

    /// Returns the fingerprint of the key of the newest lane.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.state.lock().lanes.last().map(|open| open.lane.key().fingerprint())
    }

    /// Returns the connections of the newest lane.
    pub(crate) fn connections(&self) -> Option<Arc<Connections>> {
        self.state
            .lock()
            .lanes
            .last()
            .map(|open| Arc::clone(open.lane.connections()))
    }

    /// Calls `visit` for each open lane, with the ledger locked.
    pub(crate) fn each_lane(&self, visit: impl FnMut(&dyn CountedLane)) {
        let state = self.state.lock();
        state.lanes.iter().map(|open| open.lane.as_ref()).for_each(visit);
    }
}

impl SelectorFlush {
    /// Returns how much of the flushed data is pending.
    pub(crate) fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        for (lane, mark) in &self.lanes {
            let of_lane = lane.pending(mark);
            pending.spans += of_lane.spans;
            pending.events += of_lane.events;
        }
        pending
    }
}

impl State {
    fn lanes(&self) -> Vec<Arc<dyn CountedLane>> {
        self.lanes.iter().map(|open| Arc::clone(&open.lane)).collect()
    }

    /// Returns whether it has neither lanes nor anything on disk.
    fn is_idle(&self) -> bool {
        let Ledgers { spans, events } = &self.retired.ledgers;
        self.lanes.is_empty() && spans.spooled() == 0 && events.spooled() == 0
    }

    #[cfg(feature = "spool")]
    fn spooled(&self) -> Spooled {
        let Some(backlog) = &self.backlog else {
            return Spooled::default();
        };
        let Ledgers { spans, events } = self.ledgers();
        let (bytes, oldest) = backlog.status();
        Spooled {
            spans: spans.spooled(),
            events: events.spooled(),
            bytes,
            oldest: oldest.map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
        }
    }

    /// Returns the totals of all lanes that the selector ever had.
    fn ledgers(&self) -> Ledgers {
        let mut all = self.retired.ledgers;
        self.lanes.iter().for_each(|open| all.add(&open.lane.summary().ledgers));
        all
    }

    fn position(&self, lane: &dyn CountedLane) -> Option<usize> {
        self.lanes
            .iter()
            .position(|open| std::ptr::addr_eq(open.lane.as_ref(), lane))
    }

    /// Returns the reported totals of all lanes that the selector ever had.
    fn reported(&self) -> Ledgers {
        let mut reported = self.retired.reported;
        let of_lanes = self.lanes.iter().filter_map(|open| open.reported.as_deref());
        of_lanes.for_each(|of_lane| reported.add(of_lane));
        reported
    }

    /// Marks the ledgers as reported.
    fn report(&mut self, snapshots: &[LaneSnapshot]) {
        self.retired.reported = self.retired.ledgers;
        for (open, snapshot) in self.lanes.iter_mut().zip(snapshots) {
            open.reported = Some(Box::new(snapshot.ledgers));
        }
    }

    fn snapshots(&self) -> Vec<LaneSnapshot> {
        self.lanes.iter().map(|open| open.lane.snapshot()).collect()
    }

    /// Returns the sum of retired and open lanes.
    fn sum(&self, snapshots: Vec<LaneSnapshot>) -> LaneSnapshot {
        let retired = &self.retired;
        let mut all = LaneSnapshot {
            ledgers: retired.ledgers,
            #[cfg(feature = "metrics")]
            starts: retired.starts,
            refused_span: retired.refused_span.as_deref().cloned(),
            last_delivery: retired.last_delivery,
            redaction: retired.redaction.as_deref().cloned().unwrap_or_default(),
            ..LaneSnapshot::default()
        };
        for lane in snapshots {
            all.add(lane);
        }
        if all.failures.is_none() {
            all.failures = retired.failures.as_deref().cloned();
            if let Some(failures) = &mut all.failures {
                failures.end_by(all.last_delivery);
            }
        }
        all
    }
}
