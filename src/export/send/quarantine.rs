//! A batch that the receiver fails on (500 and the like): whether it is down, or cannot take something that the batch carries.
//!
//! The batch is set aside at the first such answer, and the lane goes on with others. Those that were set aside are seen through one after the
//! other; if as many are as may be, the lane repeats the next one in its place. `fault` is such an answer.
//!
//! | the batch | event | next |
//! |---|---|---|
//! | whole | a fault, the first or second | whole: sent again after a back-off |
//! | whole | the third fault, and the lane divides | divided along one path, see [`Parts`](super::parts::Parts) |
//! | whole | the third fault, and the lane is barren, or there is one span | outage |
//! | divided | a fault on several spans | divided along one path, from here if others were taken before |
//! | divided | a fault on one span, the third | it is kept until others are taken, and then sent again |
//! | divided | the third fault on one span that was sent again | it is dropped |
//! | divided | no part is left, and one span is kept that was beside others that were taken | it is dropped |
//! | divided | no part is left, and more is kept, all of it by faults | outage; barren if nothing was taken |
//! | divided | no part is left otherwise | what is kept is dropped |
//! | outage | a fault, and nothing of the lane was taken since | outage: repeated as after a 503 |
//! | outage | a fault, though something of the lane was taken since | as before; without something of the batch taken, a second outage is the end of it: it is dropped |
//! | any | it is taken, refused or given up | as any other batch |
//!
//! So one bad span costs its neighbours a few seconds, and nothing else. A receiver that is down gets three attempts and one path of halves,
//! and then what it would get for a 503.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::deliver::{OnFault, backoff};
use super::in_flight_batch::InFlightBatch;
use super::outcome::Outcome;
use super::parts::Refused;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::ledger::DropReason;

/// Attempts at a whole batch, and at one span alone.
const ATTEMPTS: u32 = 3;

/// Sees a batch through that the receiver failed on once.
pub(super) async fn run(lane: &Arc<Lane>, mut in_flight: InFlightBatch) {
    let shared = lane.shared();
    let max_elapsed = shared.settings.retry.max_elapsed;
    let elapsed = max_elapsed.saturating_sub(lane.time_left(in_flight.age, max_elapsed));
    let now = shared.driver.now();
    in_flight.age = Age::Since(now.checked_sub(elapsed).unwrap_or(now));
    let permit = loop {
        let left = lane.time_left(in_flight.age, max_elapsed);
        if let Ok(permit) = timeout(left, lane.quarantine_permit().acquire()).await {
            break permit.expect("it is never closed");
        }
        // The clock may have stood still meanwhile.
        if left.is_zero() {
            if let Some(part) = in_flight.parts.next() {
                in_flight.give_up(lane, part, DropReason::RetriesExhausted);
            }
            in_flight.end(lane);
            lane.retire_if_done();
            return;
        }
    };
    QuarantinedBatch {
        in_flight,
        attempts: 1,
        outage: None,
        was_outage: false,
    }
    .run(lane)
    .await;
    drop(permit);
    lane.retire_if_done();
}

struct QuarantinedBatch {
    in_flight: InFlightBatch,
    /// At the part that is next.
    attempts: u32,
    /// Requests of the lane that were taken when it was found that the receiver is down.
    outage: Option<u64>,
    was_outage: bool,
}

impl QuarantinedBatch {
    async fn run(mut self, lane: &Arc<Lane>) {
        let request = lane.begin_request(RequestKind::Spans);
        while let Some(part) = self.in_flight.parts.next() {
            if lane.is_closed() {
                return;
            }
            let outcome = self.attempt(lane, &request, &part).await;
            if outcome == Outcome::Faulted {
                self.note_fault(lane, part);
            } else {
                self.was_outage &= !outcome.has_delivered(part.len());
                self.in_flight.note(lane, part, outcome);
            }
            if self.in_flight.parts.waiting.is_empty() {
                self.look_for_outage(lane);
            }
        }
        self.in_flight.end(lane);
    }

    /// Sends a part until it has another outcome than a fault, or enough of them.
    async fn attempt(&mut self, lane: &Arc<Lane>, request: &RequestGuard<'_>, part: &Range<usize>) -> Outcome {
        let retry = &lane.shared().settings.retry;
        let is_whole = part.len() == self.in_flight.batch.len();
        let most = if is_whole || part.len() == 1 { ATTEMPTS } else { 1 };
        let mut attempts = std::mem::take(&mut self.attempts);
        loop {
            let flushes = lane.flushes();
            if attempts > 0 {
                let wait = backoff(retry, attempts - 1);
                request.wait_to_retry(wait);
                lane.wait_before_retry(wait, flushes).await;
            }
            let on_fault = self.outage.take().map_or(OnFault::Return, OnFault::AwaitDelivery);
            let outcome = self.in_flight.send(lane, request, part, on_fault, None).await;
            attempts += 1;
            if outcome != Outcome::Faulted || attempts >= most {
                return outcome;
            }
            if lane.time_left(self.in_flight.age, retry.max_elapsed) == Duration::ZERO {
                return Outcome::Dropped(DropReason::RetriesExhausted);
            }
        }
    }

    fn note_fault(&mut self, lane: &Lane, part: Range<usize>) {
        let is_whole = part.len() == self.in_flight.batch.len();
        let refused = Refused {
            part,
            reason: DropReason::Refused,
            by_fault: true,
        };
        if is_whole && !lane.may_split() {
            // Undivided: whether it is an outage is seen next.
            self.in_flight.parts.kept.push(refused);
        } else {
            let refused = self.in_flight.parts.note_refused(refused);
            self.in_flight.drop_refused(lane, refused);
        }
    }

    /// All parts were sent. If what is kept is so because of faults alone, and that for the first time, it is repeated.
    fn look_for_outage(&mut self, lane: &Lane) {
        let parts = &mut self.in_flight.parts;
        let kept: usize = parts.kept.iter().map(|kept| kept.part.len()).sum();
        let is_beside_others = kept == 1 && self.in_flight.batch.len() > 1;
        if kept == 0 || is_beside_others || self.was_outage || !parts.kept.iter().all(|kept| kept.by_fault) {
            return;
        }
        if kept == self.in_flight.batch.len() && parts.kept.len() > 1 {
            lane.disable_splitting();
        }
        self.was_outage = true;
        self.outage = Some(lane.delivered_requests());
        parts.retry_kept();
    }
}
