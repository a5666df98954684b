//! The requests that may be under way at the same time, and how one gets its place.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker_chain::{BreakerChain, ChainPass};
use super::fair_semaphore::{FairSemaphore, Permit};
use crate::export::engine::Shared;
use crate::export::lane::{Age, Lane, UnderWay};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    Spans,
    /// One session event, or several that are told as one.
    SessionEvent,
}

impl Load {
    /// As status and log call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::SessionEvent => "session_events",
        }
    }
}

/// The requests that may be under way at the same time.
///
/// A lane whose last attempt was slow waits in a line of its own: endpoints that hang use up that line, and the healthy ones go on as if
/// they were not there. A request that lasts gives its place among the healthy ones up, as long as there is room beside
/// them: so many endpoints may begin to hang at once without others having to wait for their time to be over.
#[derive(Debug)]
pub(crate) struct Permits {
    healthy: FairSemaphore,
    /// Beside the healthy line, for requests that began in it.
    beside: Semaphore,
    suspect: Semaphore,
}

/// The right to have a request under way.
enum RequestPermit<'a> {
    Healthy {
        // Held, not read.
        _turn: Permit<'a>,
        /// Where a request that lasts may move to.
        beside: &'a Semaphore,
    },
    Aside {
        _place: SemaphorePermit<'a>,
    },
}

/// What a request has while it is under way.
pub(crate) struct Admission<'a> {
    entry: ChainPass<'a>,
    permit: RequestPermit<'a>,
    /// Of session events.
    _turn: Option<SemaphorePermit<'a>>,
}

impl Permits {
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self {
            healthy: FairSemaphore::new(max_concurrent),
            beside: Semaphore::new(max_concurrent),
            suspect: Semaphore::new((max_concurrent / 8).max(1)),
        }
    }

    /// A lane has something to send again.
    pub(crate) fn wake(&self, lane: &Lane) {
        self.healthy.wake(&lane.clock);
    }

    async fn acquire(&self, lane: &Lane) -> RequestPermit<'_> {
        if !lane.is_suspect() {
            let turn = self.healthy.take(&lane.clock).await;
            // What was learnt of the lane meanwhile counts: a hundred requests of one that hangs may stand in this line.
            if !lane.is_suspect() {
                let beside = &self.beside;
                return RequestPermit::Healthy { _turn: turn, beside };
            }
        }
        RequestPermit::Aside {
            _place: turn(&self.suspect).await,
        }
    }
}

impl<'a> Admission<'a> {
    /// Gives the place to others; what the attempt showed is still to be told.
    pub(crate) fn leave(self) -> ChainPass<'a> {
        self.entry
    }

    /// The request lasts: its place among the healthy ones is free again, if there is room beside them.
    pub(crate) fn step_aside(&mut self) {
        if let RequestPermit::Healthy { beside, .. } = self.permit
            && let Ok(place) = beside.try_acquire()
        {
            self.permit = RequestPermit::Aside { _place: place };
        }
    }
}

/// Waits until the breakers let a request through and there is a place for it; at the breakers without a place, and no longer than its
/// patience, which is counted as its age says. `None` if that is over, or would be before the time that the receiver asked for.
pub(crate) async fn admit<'a>(
    shared: &'a Shared,
    lane: &'a Lane,
    request: &UnderWay<'_>,
    age: Age,
    patience: Duration,
) -> Option<Admission<'a>> {
    let load = request.load;
    let gate = gate(lane, load);
    loop {
        while !gate.is_ready() {
            request.waits_at_breaker();
            lane.note_held_up(load);
            let left = lane.time_left(age, patience);
            let asked = gate
                .asked_until()
                .map(|until| until.saturating_duration_since(shared.driver.now()));
            if left.is_zero() || asked.is_some_and(|asked| asked > left) && !shared.driver.may_stand_still() {
                return None;
            }
            // Either end of the wait is the same: a clock may have stood still meanwhile.
            drop(tokio::time::timeout(left, gate.ready()).await);
        }
        request.waits_for_place();
        let turn = match load {
            Load::Spans => None,
            Load::SessionEvent => Some(turn(lane.session_turns()).await),
        };
        let permit = shared.permits.acquire(lane).await;
        // A breaker may have opened meanwhile, or somebody else be its probe: then the place is for others.
        if let Some(entry) = gate.enter() {
            return Some(Admission {
                entry,
                permit,
                _turn: turn,
            });
        }
    }
}

pub(crate) fn gate(lane: &Lane, load: Load) -> BreakerChain<'_> {
    match load {
        Load::Spans => lane.gates.for_spans(),
        Load::SessionEvent => lane.gates.for_session_events(),
    }
}

async fn turn(line: &Semaphore) -> SemaphorePermit<'_> {
    line.acquire().await.expect("nobody closes these semaphores")
}
