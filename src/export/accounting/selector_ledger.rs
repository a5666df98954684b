//! All lanes that a selector ever had, and the ledgers of those that are gone: a name's ledger goes on across its tracers.

use std::sync::Arc;
use std::time::SystemTime;

use super::counted_lane::{CountedLane, Failures, FlushMark, LaneSnapshot, Pending};
use super::eviction::{EvictedLedgers, Eviction, IdleSelectors};
use super::lane_status::RefusedSpan;
use super::report::TracerReport;
#[cfg(feature = "metrics")]
use super::span_counters::SpanCounters;
use crate::export::log::episodes::Episodes;
use crate::ledger::Ledgers;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// The ledger of one selector.
pub(crate) struct SelectorLedger {
    pub(crate) selector: Selector,
    state: ForkLock<State>,
    /// Where it is listed when its last lane is gone.
    idle: Arc<IdleSelectors>,
    /// What the log says of it.
    pub(crate) episodes: Episodes,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: MetricsEntry,
}

/// What metrics show of a selector besides its ledger.
#[cfg(feature = "metrics")]
pub(crate) struct MetricsEntry {
    /// How many ledgers were begun before.
    pub(crate) number: usize,
    /// Where the spans go.
    pub(crate) traces_url: String,
    starts: Arc<SpanCounters>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Open>,
    /// What is left of the lanes that are gone.
    retired: Retired,
    /// Where it stands in the list of selectors without lanes.
    listed: Listed,
}

struct Open {
    lane: Arc<dyn CountedLane>,
    /// Where its ledgers stood at the last report; none before the first, as of most.
    reported: Option<Box<Ledgers>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    No,
    Yes,
    /// It had a lane again since it was listed.
    Used,
}

#[derive(Default)]
struct Retired {
    ledgers: Ledgers,
    // In boxes, because most never have any.
    failures: Option<Box<Failures>>,
    refused_span: Option<Box<RefusedSpan>>,
    last_delivery: Option<SystemTime>,
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
            starts: Arc::default(),
        }
    }
}

impl SelectorLedger {
    pub(crate) fn new(
        selector: Selector,
        idle: Arc<IdleSelectors>,
        #[cfg(feature = "metrics")] metrics: MetricsEntry,
    ) -> Arc<Self> {
        Arc::new(Self {
            selector,
            state: ForkLock::default(),
            idle,
            episodes: Episodes::default(),
            #[cfg(feature = "metrics")]
            metrics,
        })
    }

    /// Of no registry.
    #[cfg(test)]
    pub(crate) fn standalone(selector: &Selector) -> Arc<Self> {
        Self::new(
            selector.clone(),
            IdleSelectors::new(Arc::default()),
            #[cfg(feature = "metrics")]
            MetricsEntry::new(0, ""),
        )
    }

    pub(crate) fn open(&self, lane: Arc<dyn CountedLane>) {
        let mut state = self.state.lock();
        // For most selectors there is one at a time.
        state.lanes.reserve_exact(1);
        state.lanes.push(Open { lane, reported: None });
        if state.listed != Listed::No {
            state.listed = Listed::Used;
        }
    }

    /// Takes over the ledgers of a lane that has nothing pending. Under this ledger's lock, so a snapshot counts them once.
    pub(crate) fn retire(&self, lane: &dyn CountedLane) {
        let mut state = self.state.lock();
        let Some(at) = state.position(lane) else { return };
        let Open { lane, reported } = state.lanes.remove(at);
        let snapshot = lane.snapshot();
        let retired = &mut state.retired;
        retired.ledgers.add(&snapshot.ledgers);
        retired.reported.add(&reported.as_deref().copied().unwrap_or_default());
        retired.failures = snapshot.failures.map(Box::new).or(retired.failures.take());
        retired.refused_span = snapshot.refused_span.map(Box::new).or(retired.refused_span.take());
        retired.last_delivery = retired.last_delivery.max(snapshot.last_delivery);
        let list = state.lanes.is_empty() && state.listed == Listed::No;
        if list {
            state.listed = Listed::Yes;
        }
        drop(state);
        if list {
            self.idle.list(self.selector.clone());
        }
    }

    /// What is to become of it. `alone` says that nobody else has it, and so that no lane can be opened in it meanwhile.
    pub(crate) fn eviction(&self, alone: bool) -> Eviction {
        let mut state = self.state.lock();
        if !state.lanes.is_empty() {
            state.listed = Listed::No;
            return Eviction::Open;
        }
        if !alone || state.listed == Listed::Used {
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

    /// Adds a ledger without lanes to the sums of those that are evicted.
    pub(super) fn add_to(&self, evicted: &mut EvictedLedgers) {
        let Retired { ledgers, reported, .. } = &self.state.lock().retired;
        evicted.names += 1;
        #[cfg(feature = "metrics")]
        {
            evicted.starts[0] += self.starts().recorded();
            evicted.starts[1] += self.starts().left_out();
        }
        evicted.ledgers.add(ledgers);
        evicted.reported.add(reported);
    }

    /// Makes everything that the selector's lanes hold due now.
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

    /// All that happened since the report before the flush, and what of the flush is not settled yet.
    pub(crate) fn report(&self, flush: &SelectorFlush) -> TracerReport {
        // Before the ledgers are read: what gets its outcome in between is reported twice, as pending and with its outcome, rather than not at all.
        let mut pending = Pending::default();
        for (lane, mark) in &flush.lanes {
            let of_lane = lane.pending(mark);
            pending.spans += of_lane.spans;
            pending.events += of_lane.events;
        }
        let mut state = self.state.lock();
        let snapshots = state.snapshots();
        state.report(&snapshots);
        let all = state.sum(snapshots);
        drop(state);
        TracerReport::new(
            self.selector.clone(),
            all.ledgers.since(&flush.before),
            pending,
            all.failures,
        )
    }

    /// Returns the ledgers of one lane as of its last report.
    pub(crate) fn reported_of(&self, lane: &dyn CountedLane) -> Ledgers {
        let state = self.state.lock();
        let reported = state.position(lane).and_then(|at| state.lanes[at].reported.as_deref());
        reported.copied().unwrap_or_default()
    }

    /// All that happened to one lane since the report before a flush of it, and what of the flush is not settled yet.
    pub(crate) fn report_lane(&self, lane: &dyn CountedLane, mark: &FlushMark, before: &Ledgers) -> TracerReport {
        // First, as above.
        let pending = lane.pending(mark);
        let mut state = self.state.lock();
        let now = lane.snapshot();
        if let Some(at) = state.position(lane) {
            state.lanes[at].reported = Some(Box::new(now.ledgers));
        }
        drop(state);
        TracerReport::new(self.selector.clone(), now.ledgers.since(before), pending, now.failures)
    }

    /// Closes all lanes: what is not settled is dropped and counted.
    pub(crate) fn abandon(&self) {
        // A clone: a lane that retires meanwhile takes this ledger's lock.
        let lanes = self.state.lock().lanes();
        for lane in lanes {
            lane.abandon();
        }
    }

    pub(crate) fn snapshot(&self) -> LaneSnapshot {
        let state = self.state.lock();
        state.sum(state.snapshots())
    }

    /// Of all lanes that ever were, together.
    #[cfg(feature = "metrics")]
    pub(crate) fn starts(&self) -> &Arc<SpanCounters> {
        &self.metrics.starts
    }
}

impl State {
    fn lanes(&self) -> Vec<Arc<dyn CountedLane>> {
        self.lanes.iter().map(|open| Arc::clone(&open.lane)).collect()
    }

    fn position(&self, lane: &dyn CountedLane) -> Option<usize> {
        self.lanes
            .iter()
            .position(|open| std::ptr::addr_eq(open.lane.as_ref(), lane))
    }

    /// What was reported of all lanes that ever were, together.
    fn reported(&self) -> Ledgers {
        let mut reported = self.retired.reported;
        let of_lanes = self.lanes.iter().filter_map(|open| open.reported.as_deref());
        of_lanes.for_each(|of_lane| reported.add(of_lane));
        reported
    }

    /// All that is in the ledgers is reported now.
    fn report(&mut self, snapshots: &[LaneSnapshot]) {
        self.retired.reported = self.retired.ledgers;
        for (open, snapshot) in self.lanes.iter_mut().zip(snapshots) {
            open.reported = Some(Box::new(snapshot.ledgers));
        }
    }

    fn snapshots(&self) -> Vec<LaneSnapshot> {
        self.lanes.iter().map(|open| open.lane.snapshot()).collect()
    }

    /// All lanes that ever were, together.
    fn sum(&self, snapshots: Vec<LaneSnapshot>) -> LaneSnapshot {
        let retired = &self.retired;
        let mut all = LaneSnapshot {
            ledgers: retired.ledgers,
            refused_span: retired.refused_span.as_deref().cloned(),
            last_delivery: retired.last_delivery,
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
