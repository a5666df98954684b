//! A batch that left its queue, and its parts without an outcome.
//!
//! Spans are completed for export once and then encoded in place, as a whole or in parts. The batch
//! stays until all of it has an outcome.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
#[cfg(feature = "spool")]
use tracer_registry_spool::AppendError;

use super::admission::Admission;
use super::deliver::{OnFault, Sending, deliver, run_request};
use super::outcome::Outcome;
use super::parts::{Parts, Refused};
use crate::config::Compression;
#[cfg(feature = "spool")]
use crate::export::accounting::counted_lane::CountedLane as _;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::refused::{MAX_BYTES, RefusedBatch};
use crate::export::encode::body::{self, Encoded};
use crate::export::error::ExportError;
use crate::export::explain::counts::{TraceCounts, TraceKey};
use crate::export::explain::fate::Note;
use crate::export::lane::Lane;
#[cfg(feature = "spool")]
use crate::export::lane::durable::wait_after;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::export::net::exchange::Call;
use crate::export::queue::span_queue::Batch;
#[cfg(feature = "spool")]
use crate::export::spool::hand_over;
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;
use crate::util::wall_time;

/// A batch and its parts without an outcome.
pub(super) struct InFlightBatch {
    pub(super) batch: Batch,
    pub(super) parts: Parts,
    pub(super) age: Age,
    /// Whether the spans are completed for export.
    finished: bool,
    /// The answer to the last refused request, if refused batches are kept.
    pub(super) refusal: Option<ExportError>,
    /// The trace of each span. Empty if `explain` is off.
    traces: Vec<TraceKey>,
}

impl InFlightBatch {
    pub(super) fn new(lane: &Lane, batch: Batch) -> Self {
        let traces = lane.trace_keys(|| batch.trace_ids());
        lane.note_fates(&traces, Note::Batch);
        Self {
            traces,
            refusal: None,
            parts: Parts::of(batch.len()),
            age: Age::Spans(batch.numbers(&(0..batch.len())).end),
            batch,
            finished: false,
        }
    }

    /// Sends a part until it has an outcome. The first attempt uses `admission`, if given.
    pub(super) async fn send(
        &mut self,
        lane: &Arc<Lane>,
        request: &RequestGuard<'_>,
        part: &Range<usize>,
        on_fault: OnFault,
        admission: Option<Admission<'_>>,
    ) -> Outcome {
        let mut refusal = lane.keeps_refused().then(ForkLock::default);
        let sent = async {
            // Complete the whole batch with its first part.
            self.finish(lane);
            let sending = Sending {
                call: &call(lane, &self.batch, part)?,
                request,
                count: part.len() as u64,
                traces: &TraceCounts::of(self.traces(part)),
                age: self.age,
                on_fault,
                refusal: refusal.as_ref(),
            };
            Ok(deliver(lane, &sending, admission).await)
        };
        let outcome = run_request(lane, RequestKind::Spans, sent).await;
        self.refusal = refusal.as_mut().and_then(|refusal| refusal.get_mut().take());
        outcome
    }

    fn finish(&mut self, lane: &Lane) {
        if !std::mem::replace(&mut self.finished, true) {
            lane.finish_spans(&mut self.batch);
            #[cfg(all(feature = "redact", feature = "spool"))]
            if let Some(redaction) = &lane.policies.redaction {
                self.batch.redact_payloads(redaction);
            }
            #[cfg(feature = "encoded")]
            self.batch.finish_payloads(&lane.destination.edits);
        }
    }

    /// Records the outcome of a part. A refused part that is split stays pending, and so does one
    /// that should be left on disk if there is no room.
    pub(super) async fn note(&mut self, lane: &Arc<Lane>, part: Range<usize>, outcome: Outcome) {
        let error = self.refusal.take();
        match outcome {
            Outcome::Refused(reason) if part.len() < self.batch.len() || lane.may_split() => {
                let refused = self.parts.note_refused(Refused {
                    part,
                    reason,
                    by_fault: false,
                    error,
                });
                self.drop_refused(lane, refused);
            }
            Outcome::Dropped(reason) if outcome.is_expired() => {
                #[cfg(feature = "spool")]
                let Some(part) = self.leave(lane, part).await else {
                    return;
                };
                self.give_up(lane, part, reason);
            }
            #[cfg(feature = "spool")]
            Outcome::HandedOver if !lane.is_closed() => {
                if let Some(part) = self.leave(lane, part).await {
                    self.parts.put_back(part);
                }
            }
            // Closing the lane counted its spans.
            Outcome::HandedOver => {}
            Outcome::Refused(reason) => {
                let by_fault = false;
                let refused = Refused {
                    part,
                    reason,
                    by_fault,
                    error,
                };
                self.drop_refused(lane, [refused]);
            }
            outcome => {
                if outcome == Outcome::Dropped(DropReason::Refused) {
                    self.keep_refused(lane, &part, DropReason::Refused, error);
                }
                self.complete(lane, &part, outcome);
                if outcome.has_delivered(part.len()) {
                    let refused = self.parts.note_delivered();
                    self.drop_refused(lane, refused);
                }
            }
        }
    }

    /// Leaves an expired batch on disk, with all its parts. Returns the part if the batch must be
    /// dropped: without a spool, or if the disk fails for as long as `export.retry.max_elapsed`. If
    /// there is no room, the batch has that time again.
    #[cfg(feature = "spool")]
    async fn leave(&mut self, lane: &Arc<Lane>, part: Range<usize>) -> Option<Range<usize>> {
        if !lane.is_spooled() {
            return Some(part);
        }
        self.finish(lane);
        let faulted = self
            .parts
            .kept
            .iter()
            .filter(|kept| kept.by_fault)
            .map(|kept| &kept.part);
        let unsent = std::iter::once(&part).chain(&self.parts.waiting).chain(faulted);
        let mut unsent: Vec<_> = unsent.cloned().collect();
        unsent.sort_by_key(|part| part.start);
        let Err(error) = hand_over::leave(lane, &self.batch, &unsent).await else {
            self.parts.waiting.clear();
            let kept = std::mem::take(&mut self.parts.kept).into_iter();
            self.drop_refused(lane, kept.filter(|kept| !kept.by_fault));
            return None;
        };
        let (max_elapsed, wait) = (lane.shared().settings.retry.max_elapsed, wait_after(&error));
        match error {
            AppendError::Erased(_) => {
                self.give_up(lane, part, DropReason::Purged);
                return None;
            }
            AppendError::Failing(_) | AppendError::Closed => {
                if lane.time_left(self.age, max_elapsed).is_zero() {
                    return Some(part);
                }
            }
            _ => self.age = Age::Since(lane.shared().driver.now()),
        }
        self.parts.put_back(part);
        lane.wait_before_retry(wait, lane.flushes()).await;
        None
    }

    /// Drops an expired batch with all its parts. Parts that the receiver refused before count as
    /// refused. Splitting stays enabled, because not all of the batch was sent.
    fn give_up(&mut self, lane: &Lane, part: Range<usize>, reason: DropReason) {
        let kept = std::mem::take(&mut self.parts.kept).into_iter();
        let (faulted, refused): (Vec<_>, Vec<_>) = kept.partition(|kept| kept.by_fault);
        let unsent = std::iter::once(part)
            .chain(self.parts.waiting.drain(..))
            .chain(faulted.into_iter().map(|faulted| faulted.part));
        let unsent: Vec<_> = unsent.collect();
        for part in &unsent {
            lane.note_fates(self.traces(part), Note::Dropped(reason));
        }
        let unsent: Vec<_> = unsent.iter().map(|part| self.batch.numbers(part)).collect();
        // A quarantined batch has its own start time, so it must not expire queued spans.
        let max_elapsed = match self.age {
            Age::Since(_) => Duration::ZERO,
            Age::Queue | Age::Spans(_) | Age::Event(_) => lane.shared().settings.retry.max_elapsed,
        };
        lane.give_up(&unsent, reason, max_elapsed);
        self.drop_refused(lane, refused);
    }

    /// Drops permanently refused parts.
    pub(super) fn drop_refused(&self, lane: &Lane, refused: impl IntoIterator<Item = Refused>) {
        for Refused {
            part, reason, error, ..
        } in refused
        {
            if part.len() == 1 {
                self.note_refused(lane, &part, reason);
            }
            self.keep_refused(lane, &part, reason, error);
            self.complete(lane, &part, Outcome::Refused(reason));
        }
    }

    /// Records the outcome of a part in the lane's ledger, and before in what `explain` shows.
    fn complete(&self, lane: &Lane, part: &Range<usize>, outcome: Outcome) {
        let note = match outcome {
            Outcome::Delivered { rejected: 0 } => Some(Note::Delivered),
            Outcome::Delivered { .. } if outcome.has_delivered(part.len()) => Some(Note::Unclear),
            Outcome::Delivered { .. } => Some(Note::Dropped(DropReason::Rejected)),
            Outcome::Refused(reason) | Outcome::Dropped(reason) => Some(Note::Dropped(reason)),
            Outcome::Faulted | Outcome::HandedOver => None,
        };
        if let Some(note) = note {
            lane.note_fates(self.traces(part), note);
        }
        lane.complete(self.batch.numbers(part), outcome);
    }

    /// Returns the traces of a part.
    fn traces(&self, part: &Range<usize>) -> &[TraceKey] {
        self.traces.get(part.clone()).unwrap_or_default()
    }

    /// Keeps a refused part, if refused batches are kept.
    fn keep_refused(&self, lane: &Lane, part: &Range<usize>, reason: DropReason, error: Option<ExportError>) {
        if !lane.keeps_refused() {
            return;
        }
        let encoded = encode(lane, &self.batch, part, Compression::None);
        let body = encoded.map(|encoded| encoded.body).unwrap_or_default();
        lane.keep_refused(RefusedBatch {
            at: wall_time::to_millis(SystemTime::now()),
            reason,
            spans: part.len() as u64,
            bytes: body.len() as u64,
            protocol: lane.shared().settings.protocol,
            error,
            // A copy, because the body may be a part of a larger one.
            body: (1..=MAX_BYTES)
                .contains(&body.len())
                .then(|| Bytes::copy_from_slice(&body)),
        });
    }

    /// Records a span refused alone, with the uncompressed size of its request, which receivers'
    /// limits apply to.
    fn note_refused(&self, lane: &Lane, part: &Range<usize>, reason: DropReason) {
        let encoded = encode(lane, &self.batch, part, Compression::None);
        let bytes = encoded.map_or(0, |encoded| encoded.body.len());
        for span in self.batch.spans(part) {
            let own = &span.span_context;
            lane.note_refused_span(&span.name, (own.trace_id(), own.span_id()), bytes, reason);
        }
        #[cfg(feature = "encoded")]
        for (payload, spans) in self.batch.payloads(part) {
            if let Some(span) = payload.describe(spans.start) {
                lane.note_refused_span(span.name, (span.trace_id, span.span_id), bytes, reason);
            }
        }
    }

    /// Ends the batch after all parts were sent: drops the kept ones and recycles the memory.
    pub(super) fn end(mut self, lane: &Lane) {
        let kept = std::mem::take(&mut self.parts.kept);
        if kept.len() > 1 {
            lane.disable_splitting();
        }
        self.drop_refused(lane, kept);
        lane.shared().chunks.recycle(self.batch);
    }
}

fn call(lane: &Lane, batch: &Batch, part: &Range<usize>) -> Result<Call, ExportError> {
    let settings = &lane.shared().settings;
    let encoded = encode(lane, batch, part, settings.compression)?;
    Ok(Call::spans(settings.protocol, &lane.destination, encoded))
}

fn encode(lane: &Lane, batch: &Batch, part: &Range<usize>, compression: Compression) -> Result<Encoded, ExportError> {
    let protocol = lane.shared().settings.protocol;
    let resource = lane.destination.resource(&lane.selector);
    let spans = batch.spans(part);
    #[cfg(feature = "encoded")]
    let payloads = batch.payloads(part);
    #[cfg(feature = "encoded")]
    if !payloads.is_empty() {
        return body::with_payloads(&spans, &payloads, &resource, protocol, compression);
    }
    body::spans(&spans, &resource, protocol, compression)
}
