//! Quarantine of a batch that the receiver fails on (500 and the like): finds out whether the
//! receiver is down, or fails on a span.
//!
//! The first such answer, a fault, moves the batch to quarantine, and the lane continues with
//! others. Quarantined batches are processed one at a time. If the quarantine is full, the lane
//! retries the batch in place.
//!
//! | batch | event | next |
//! |---|---|---|
//! | whole | first or second fault | whole: retried after a back-off |
//! | whole | third fault, and splitting is enabled | split along one path, see [`Parts`](super::parts::Parts) |
//! | whole | third fault, and splitting is disabled, or there is one span | outage |
//! | split | a fault on several spans | split along one path, from here if other spans were delivered before |
//! | split | third fault on one span | kept until others are delivered, then retried |
//! | split | third fault on one retried span | dropped |
//! | split | no part is left, and one span is kept | dropped: its neighbours were delivered |
//! | split | no part is left, and several spans are kept, all by faults | outage; splitting is disabled if nothing was delivered |
//! | split | no part is left otherwise | the kept spans are dropped |
//! | outage | a fault, and the lane has delivered nothing since | outage: retried as after a 503 |
//! | outage | a fault, and the lane has delivered something since | starts over; a second outage without a delivery from the batch drops it |
//! | any | delivered, refused, expired or left on disk | as any other batch |
//!
//! So one bad span delays its neighbours by a few seconds. A receiver that is down gets three
//! attempts and one path of halves, then the retries that a 503 leads to.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
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

/// Attempts at a whole batch, and at a single span.
const ATTEMPTS: u32 = 3;

/// Completes a batch that the receiver failed on once.
pub(super) async fn run(lane: &Arc<Lane>, mut in_flight: InFlightBatch) {
    let shared = lane.shared();
    let max_elapsed = shared.settings.retry.max_elapsed;
    let elapsed = max_elapsed.saturating_sub(lane.time_left(in_flight.age, max_elapsed));
    let now = shared.driver.now();
    in_flight.age = Age::Since(now.checked_sub(elapsed).unwrap_or(now));
    let permit = loop {
        let left = lane.time_left(in_flight.age, max_elapsed);
        let acquiring = pin!(timeout(left, lane.quarantine_permit().acquire()));
        let outcome = match select(acquiring, pin!(lane.interrupted())).await {
            Either::Left((Ok(permit), _)) => break permit.expect("the semaphore is never closed"),
            Either::Left((Err(_), _)) if left.is_zero() => Outcome::Dropped(DropReason::RetriesExhausted),
            // Check again after a timeout, because the driver's clock may have stood still.
            Either::Left((Err(_), _)) => continue,
            Either::Right(_) => Outcome::HandedOver,
        };
        if let Some(part) = in_flight.parts.next() {
            in_flight.note(lane, part, outcome).await;
        }
        if in_flight.parts.waiting.is_empty() {
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
    /// Attempts already made at the next part.
    attempts: u32,
    /// The lane's number of delivered requests when the outage was detected.
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
                self.in_flight.note(lane, part, outcome).await;
            }
            if self.in_flight.parts.waiting.is_empty() {
                self.detect_outage(lane);
            }
        }
        self.in_flight.end(lane);
    }

    /// Sends a part until it has an outcome other than a fault, or reaches the limit of faults.
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
                let waiting = pin!(lane.wait_before_retry(wait, flushes));
                if let Either::Right(_) = select(waiting, pin!(lane.interrupted())).await {
                    return Outcome::HandedOver;
                }
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
            error: self.in_flight.refusal.take(),
        };
        if is_whole && !lane.may_split() {
            // Keep it whole; `detect_outage` runs next.
            self.in_flight.parts.kept.push(refused);
        } else {
            let refused = self.in_flight.parts.note_refused(refused);
            self.in_flight.drop_refused(lane, refused);
        }
    }

    /// Called when all parts were sent. Retries the kept parts if only faults kept them, for the
    /// first time.
    fn detect_outage(&mut self, lane: &Lane) {
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
