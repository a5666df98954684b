//! Spans and session requests of clients, for the gateway. Unstable: may change in any release.
//!
//! Requests to HoneyHive's session API ([`SessionRequest`]) become session events of the tracer, or
//! spans if its backend has no session API.
//!
//! Encoded spans share everything with the spans of the program: the queue of their tracer, the
//! memory of all tracers, requests, fair share and ledger. They are sent as the bytes that arrived.
//! Only what the binding configures is added: `resource`, `metadata`, `source`, the event type and
//! the session of the trace. What the client has set wins, with one exception: attributes by which a
//! receiver may choose a project are always the binding's.

mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod session_json;
mod session_spans;
mod sessions;
mod traces;

pub use error::{IngestError, InvalidTraces};
pub use session_json::{InvalidSession, SessionCall, SessionRequest};
pub use traces::Traces;

use crate::export::Room;
use crate::registry::TracerRegistry;
use crate::tracer::TracerHandle;

/// What became of one part of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ingested {
    /// Queued spans. They are in the tracer's ledger.
    pub accepted: u64,
    /// Spans of traces that `sampling.ratio` leaves out. Not in the ledger.
    pub sampled_out: u64,
    /// Spans larger than `limits.span_bytes`, which are never taken. Not in the ledger.
    pub too_large: u64,
}

impl TracerRegistry {
    /// Queues the traces of all parts for the tracers of their handles, or none of them. Never
    /// blocks. Returns what became of each part, in the same order.
    ///
    /// A part needs room for its spans (`export.max_queue_size`), unless the tracer's queue is
    /// empty. It needs room for its bytes too, those of its gzip body included: a tracer that holds
    /// nothing may take half of what is free of `export.max_queue_bytes`.
    ///
    /// A part may have more spans than `export.max_export_batch_size`: it is sent in several
    /// requests. Spans that were queued while a shutdown ends count as dropped.
    ///
    /// # Errors
    /// Returns an [`IngestError`] if a part cannot be queued. Then nothing of any part is queued or
    /// counted.
    pub fn ingest(&self, parts: Vec<(TracerHandle, Traces)>) -> Result<Vec<Ingested>, IngestError> {
        if !self.is_open() {
            return Err(IngestError::Closed);
        }
        // The handles keep the tracers until everything is queued.
        let (handles, requests): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let admitted = handles
            .iter()
            .zip(requests)
            .map(|(tracer, traces)| admit(tracer, traces));
        let admitted: Vec<(Room, Ingested)> = admitted.collect::<Result<_, _>>()?;
        let ingested = admitted.into_iter().map(|(room, ingested)| {
            room.commit(ingested.sampled_out);
            ingested
        });
        Ok(ingested.collect())
    }
}

/// Reserves room for the spans that the binding lets pass.
fn admit(tracer: &TracerHandle, Traces(mut payload): Traces) -> Result<(Room, Ingested), IngestError> {
    let rules = tracer.payload_rules();
    let bytes = payload.bytes().len();
    if let Some(max) = rules.request_bytes.filter(|max| bytes > *max) {
        let selector = tracer.selector().clone();
        return Err(IngestError::TooLarge { selector, bytes, max });
    }
    let mut ingested = Ingested::default();
    if rules.may_leave_out() {
        payload = payload.retain(|trace_id, bytes| {
            if !rules.is_sampled(trace_id) {
                ingested.sampled_out += 1;
            } else if rules.span_bytes.is_some_and(|max| bytes > max) {
                ingested.too_large += 1;
            } else {
                return true;
            }
            false
        });
    }
    ingested.accepted = payload.spans() as u64;
    let bytes = payload.byte_size();
    let room = tracer.lane().reserve(payload);
    let room = room.map_err(|reason| IngestError::of(reason, tracer.selector(), bytes))?;
    Ok((room, ingested))
}
