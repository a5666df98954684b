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

mod accepted;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod session_json;
mod session_spans;
mod sessions;
mod traces;

pub use accepted::{Accepted, Durable};
pub use error::{IngestError, InvalidTraces};
pub use session_json::{InvalidSession, SessionCall, SessionRequest};
pub use traces::Traces;

use opentelemetry::trace::TraceId;

use crate::export::{Note, Room, TraceKey};
use crate::registry::TracerRegistry;
use crate::selector::Slug;
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
    /// `caller` is the caller of the gateway that sent the parts, as `explain` shows it.
    ///
    /// # Errors
    /// Returns an [`IngestError`] if a part cannot be queued. Then nothing of any part is queued or
    /// counted.
    pub fn ingest(
        &self,
        caller: Option<&Slug>,
        parts: Vec<(TracerHandle, Traces)>,
    ) -> Result<Accepted<Vec<Ingested>>, IngestError> {
        if !self.is_open() {
            return Err(IngestError::Closed);
        }
        // The handles keep the tracers until everything is queued.
        let (handles, requests): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let is_explained = handles.iter().any(|tracer| tracer.lane().is_explained());
        let arrived = if is_explained { requests.clone() } else { Vec::new() };
        let admitted = handles
            .iter()
            .zip(requests)
            .map(|(tracer, traces)| admit(tracer, traces));
        let admitted: Vec<Admitted> = admitted.collect::<Result<_, _>>().inspect_err(|_| {
            for (tracer, Traces(payload)) in handles.iter().zip(&arrived) {
                tracer.lane().note_refused_payload(payload, caller);
            }
        })?;
        let ingested = handles.iter().zip(admitted).map(|(tracer, admitted)| {
            let Admitted {
                room,
                ingested,
                sampled_out,
                too_large,
            } = admitted;
            let lane = tracer.lane();
            lane.note_fates(&sampled_out, Note::SampledOut(caller));
            lane.note_fates(&too_large, Note::TooLarge(caller));
            room.commit(ingested.sampled_out, caller);
            ingested
        });
        Ok(Accepted::Now(ingested.collect()))
    }
}

/// A part of a request that has room in its lane.
struct Admitted {
    room: Room,
    ingested: Ingested,
    /// Traces of the spans that were left out. Empty if `explain` is off.
    sampled_out: Vec<TraceKey>,
    too_large: Vec<TraceKey>,
}

/// Reserves room for the spans that the binding lets pass.
fn admit(tracer: &TracerHandle, Traces(mut payload): Traces) -> Result<Admitted, IngestError> {
    let (rules, lane) = (tracer.payload_rules(), tracer.lane());
    let bytes = payload.bytes().len();
    if let Some(max) = rules.request_bytes.filter(|max| bytes > *max) {
        let selector = tracer.selector().clone();
        return Err(IngestError::TooLarge { selector, bytes, max });
    }
    let mut ingested = Ingested::default();
    let (mut sampled_out, mut too_large) = (Vec::new(), Vec::new());
    if rules.may_leave_out() {
        payload = payload.retain(|trace_id, bytes| {
            let key = || lane.trace_keys(|| vec![TraceId::from_bytes(trace_id)]);
            if !rules.is_sampled(trace_id) {
                ingested.sampled_out += 1;
                sampled_out.extend(key());
            } else if rules.span_bytes.is_some_and(|max| bytes > max) {
                ingested.too_large += 1;
                too_large.extend(key());
            } else {
                return true;
            }
            false
        });
    }
    ingested.accepted = payload.spans() as u64;
    let bytes = payload.byte_size();
    let room = lane.reserve(payload);
    let room = room.map_err(|reason| IngestError::of(reason, tracer.selector(), bytes))?;
    Ok(Admitted {
        room,
        ingested,
        sampled_out,
        too_large,
    })
}
