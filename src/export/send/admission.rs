//! How a request gets through the breakers, and its permit.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::export::schedule::breaker_chain::ChainPass;
use crate::export::schedule::permits::{RequestPermit, acquire};

/// What a request has while it is under way.
pub(super) struct Admission<'a> {
    pass: ChainPass<'a>,
    permit: RequestPermit<'a>,
    /// Of session events.
    _session_permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Admission<'a> {
    /// Gives the permit to others; what the attempt showed is still to be told to the breakers.
    pub(super) fn leave(self) -> ChainPass<'a> {
        self.pass
    }

    /// The request lasts: its permit among the healthy ones is free again, if there is room beside them.
    pub(super) fn step_aside(&mut self) {
        self.permit.step_aside();
    }
}

/// Waits until the breakers let a request through and there is a permit for it; at the breakers without a permit, and no longer than its
/// max_elapsed, which is counted as its age says. `None` if that is over, or would be before the time that the receiver asked for.
pub(super) async fn admit<'a>(
    lane: &'a Lane,
    request: &RequestGuard<'_>,
    age: Age,
    max_elapsed: Duration,
) -> Option<Admission<'a>> {
    let (kind, driver) = (request.kind, &lane.shared().driver);
    let breakers = lane.breakers.chain(kind);
    loop {
        while !breakers.is_ready() {
            request.wait_at_breaker();
            lane.note_breaker_wait(kind);
            let left = lane.time_left(age, max_elapsed);
            let asked = breakers
                .own
                .asked_until()
                .map(|until| until.saturating_duration_since(driver.now()));
            if left.is_zero() || asked.is_some_and(|asked| asked > left) && !driver.may_stand_still() {
                return None;
            }
            // Either end of the wait is the same: a clock may have stood still meanwhile.
            drop(tokio::time::timeout(left, breakers.ready()).await);
        }
        request.wait_for_permit();
        let session_permit = match kind {
            RequestKind::Spans => None,
            RequestKind::SessionEvents => Some(acquire(lane.session_permits()).await),
        };
        let permits = &lane.shared().permits;
        let permit = permits.acquire(&lane.virtual_time, || lane.is_slow()).await;
        // A breaker may have opened meanwhile, or another request be its probe: then the permit is for others.
        if let Some(pass) = breakers.enter() {
            return Some(Admission {
                pass,
                permit,
                _session_permit: session_permit,
            });
        }
    }
}

/// An admission for what was not sent yet. It waits at least as long as a probe may take.
pub(super) async fn first_admission<'a>(lane: &'a Lane, request: &RequestGuard<'_>, age: Age) -> Option<Admission<'a>> {
    let kind = request.kind;
    lane.connections.shortage(kind).give_way(lane.share(kind)).await;
    let admission = admit(lane, request, age, unsent_max_elapsed(lane)).await;
    if admission.is_none() && lane.breakers.chain(kind).own.asked_until().is_none() {
        lane.note_never_sent(kind);
    }
    admission
}

/// How long what was not sent yet waits at a breaker.
pub(super) fn unsent_max_elapsed(lane: &Lane) -> Duration {
    let settings = &lane.shared().settings;
    settings.retry.max_elapsed.max(settings.timeout)
}
