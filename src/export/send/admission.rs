//! Admission of a request: passing the breakers and getting permits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;

use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::export::schedule::breaker_chain::ChainPass;
use crate::export::schedule::permits::{RequestPermit, acquire};

/// The breaker pass and permits that a request holds while it is sent.
pub(super) struct Admission<'a> {
    pass: ChainPass<'a>,
    permit: RequestPermit<'a>,
    /// Only for session events.
    _session_permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Admission<'a> {
    /// Releases the permits and returns the pass, to report the attempt to the breakers.
    pub(super) fn into_pass(self) -> ChainPass<'a> {
        self.pass
    }

    /// Moves a long request to an overflow permit, if one is free. Frees its fair permit for
    /// others.
    pub(super) fn move_to_overflow(&mut self) {
        self.permit.move_to_overflow();
    }
}

/// Waits until the selector is not paused, the breakers admit a request, and a permit is free. Holds
/// no permit while it waits for a resume or at a breaker.
///
/// Returns `None` if `max_elapsed`, counted from the request's age, is over or would end before the
/// wait that the receiver requested.
pub(super) async fn admit<'a>(
    lane: &'a Arc<Lane>,
    request: &RequestGuard<'_>,
    age: Age,
    max_elapsed: Duration,
) -> Option<Admission<'a>> {
    let (kind, driver) = (request.kind, &lane.shared().driver);
    let breakers = lane.breakers.chain(kind);
    loop {
        if lane.is_paused() {
            request.wait_paused();
            lane.resumed().await;
            request.end_pause();
        }
        if !breakers.is_ready() {
            request.wait_at_breaker();
            lane.note_breaker_wait(kind);
            let left = lane.time_left(age, max_elapsed);
            let requested = breakers
                .own
                .asked_until()
                .map(|until| until.saturating_duration_since(driver.now()));
            if left.is_zero() || requested.is_some_and(|requested| requested > left) && !driver.may_pause() {
                return None;
            }
            // A timeout is no reason to return: the driver's clock may have stood still. The loop
            // checks again.
            lane.wait_at_breaker(kind, breakers.ready(), left).await;
            continue;
        }
        request.wait_for_permit();
        let session_permit = match kind {
            RequestKind::Spans => None,
            RequestKind::SessionEvents => Some(acquire(lane.session_permits()).await),
        };
        let permits = &lane.shared().permits;
        let permit = permits.acquire(&lane.virtual_time, || lane.is_slow()).await;
        // A pause may have begun meanwhile, or a breaker may have opened or admitted another request
        // as its probe. Then release the permit.
        if !lane.is_paused()
            && let Some(pass) = breakers.enter()
        {
            return Some(Admission {
                pass,
                permit,
                _session_permit: session_permit,
            });
        }
    }
}

/// Admits a request that was never sent. Waits for longer at a breaker than others do.
pub(super) async fn first_admission<'a>(
    lane: &'a Arc<Lane>,
    request: &RequestGuard<'_>,
    age: Age,
) -> Option<Admission<'a>> {
    let kind = request.kind;
    lane.connections
        .capacity_queue(kind)
        .yield_to_waiting(lane.share(kind))
        .await;
    let admission = admit(lane, request, age, lane.patience_at_breaker(kind)).await;
    if admission.is_none() && lane.breakers.chain(kind).own.asked_until().is_none() {
        lane.note_never_sent(kind);
    }
    admission
}
