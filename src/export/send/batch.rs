//! Sends the batches of a lane, one at a time.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
#[cfg(feature = "spool")]
use tracer_registry_spool::Kind;

use super::admission::first_admission;
use super::deliver::OnFault;
use super::in_flight_batch::InFlightBatch;
use super::outcome::Outcome;
use super::quarantine;
use crate::config::ServerErrors;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::schedule::engine_event::{Cause, ScheduledLane};
#[cfg(feature = "spool")]
use crate::export::spool::persist;

impl ScheduledLane for Lane {
    fn send_due(self: Arc<Self>, cause: Cause) -> Option<usize> {
        #[cfg(feature = "spool")]
        persist::start(&self, cause);
        let bytes = self.start(cause)?;
        tokio::spawn(async move {
            self.shared().permits.wake(&self.virtual_time);
            while self.is_due() {
                send_next(&self).await;
            }
        });
        Some(bytes)
    }

    fn log_pending(&self) {
        self.write_pending();
    }
}

/// Sends the next batch of a lane and completes it. A batch that the receiver fails on is moved to
/// quarantine, and the lane continues.
pub(crate) async fn send_next(lane: &Arc<Lane>) {
    // Take the batch after admission: while the lane waits, further spans may join the batch.
    let request = lane.begin_request(RequestKind::Spans);
    let admitted = {
        let admission = pin!(first_admission(lane, &request, Age::Queue));
        match select(admission, pin!(lane.interrupted())).await {
            Either::Left((admission, _)) => admission,
            Either::Right(_) => None,
        }
    };
    let Some(admission) = admitted else {
        #[cfg(feature = "spool")]
        if lane.spill(Kind::Spans) {
            return;
        }
        let reason = lane.breakers.chain(RequestKind::Spans).reason();
        lane.give_up(&[], reason, lane.patience_at_breaker(RequestKind::Spans));
        return;
    };
    let batch = lane.take_batch();
    if batch.len() == 0 {
        // It was closed, or its queue went to disk.
        return;
    }
    let mut admission = Some(admission);
    let on_fault = match lane.shared().settings.retry.server_errors {
        ServerErrors::Halve => OnFault::Quarantine,
        ServerErrors::Repeat => OnFault::Retry,
    };
    let mut in_flight = InFlightBatch::new(lane, batch);
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
            outcome => in_flight.note(lane, part, outcome).await,
        }
    }
    in_flight.end(lane);
}
