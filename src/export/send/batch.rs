//! The batches of a lane, one after the other.

use std::sync::Arc;

use super::admission::{first_admission, unsent_max_elapsed};
use super::deliver::OnFault;
use super::in_flight_batch::InFlightBatch;
use super::outcome::Outcome;
use super::quarantine;
use crate::config::ServerErrors;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::schedule::engine_event::{Cause, ScheduledLane};

impl ScheduledLane for Lane {
    fn send_due(self: Arc<Self>, cause: Cause) -> Option<usize> {
        let bytes = self.start(cause)?;
        tokio::spawn(async move {
            self.shared().permits.wake(&self.virtual_time);
            while self.is_due() {
                send_next(&self).await;
            }
        });
        Some(bytes)
    }

    fn log_begun(&self) {
        self.write_begun();
    }
}

/// Sends the next batch of a lane, when it is its turn, and completes all of it, unless the receiver fails on it: then it is set aside, and
/// others go on.
pub(crate) async fn send_next(lane: &Arc<Lane>) {
    // Not taken before: while the lane waits for its turn its spans are in the queue, and others may go with them.
    let request = lane.begin_request(RequestKind::Spans);
    let Some(admission) = first_admission(lane, &request, Age::Queue).await else {
        let reason = lane.breakers.chain(RequestKind::Spans).reason();
        lane.give_up(&[], reason, unsent_max_elapsed(lane));
        return;
    };
    let mut admission = Some(admission);
    let on_fault = match lane.shared().settings.retry.server_errors {
        ServerErrors::Halve => OnFault::Quarantine,
        ServerErrors::Repeat => OnFault::Retry,
    };
    let mut in_flight = InFlightBatch::new(lane.take_batch());
    while let Some(part) = in_flight.parts.next() {
        if lane.is_closed() {
            return;
        }
        match in_flight.send(lane, &request, &part, on_fault, admission.take()).await {
            Outcome::Faulted => {
                in_flight.parts.put_back(part);
                let lane = Arc::clone(lane);
                tokio::spawn(async move { quarantine::run(&lane, in_flight).await });
                return;
            }
            outcome => in_flight.note(lane, part, outcome),
        }
    }
    in_flight.end(lane);
}
