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
//!
//! What the binding redacts is removed before data gets a place, in memory or on disk. Nothing later
//! redacts it again.

mod accepted;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod parts;
#[cfg(feature = "redact")]
mod redacted;
mod session_json;
mod session_spans;
mod sessions;
mod traces;

pub use accepted::{Accepted, Durable};
pub use error::{IngestError, InvalidTraces};
#[cfg(feature = "redact")]
pub use redacted::Redacted;
pub use session_json::{InvalidSession, SessionCall, SessionRequest};
pub use traces::Traces;

use opentelemetry::trace::TraceId;

use parts::{LeftOut, Part, PartCopy};

use crate::export::{CopyTarget, Lane};
use crate::policy::quota::Amount;
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
    /// blocks. Returns what became of each part, in the same order: now, or once all parts are on
    /// disk, if one of them has to go there (`[spool]`).
    ///
    /// A part needs room for its spans (`export.max_queue_size`), unless the tracer's queue is
    /// empty. It needs room for its bytes too, those of its gzip body included: a tracer that holds
    /// nothing may take half of what is free of `export.max_queue_bytes`.
    ///
    /// A part may have more spans than `export.max_export_batch_size`: it is sent in several
    /// requests. Spans that were queued while a shutdown ends count as dropped.
    ///
    /// Each part counts in its tenant's `quota`: one request, and the spans and uncompressed bytes
    /// that sampling and limits leave.
    ///
    /// `caller` is the caller of the gateway that sent the parts, as `explain` shows it.
    ///
    /// # Errors
    /// Returns an [`IngestError`] if a part cannot be queued. Then nothing of any part is queued or
    /// counted, also not in a quota.
    pub fn ingest(
        &self,
        caller: Option<&Slug>,
        parts: Vec<(TracerHandle, Traces)>,
    ) -> Result<Accepted<Vec<Ingested>>, IngestError> {
        if !self.is_open() {
            return Err(IngestError::Closed);
        }
        let is_explained = parts.iter().any(|(tracer, _)| tracer.lane().is_explained());
        let arrived = if is_explained { parts.clone() } else { Vec::new() };
        let is_copied = parts.iter().any(|(tracer, _)| tracer.lane().copies.is_some());
        let originals = if is_copied { parts.clone() } else { Vec::new() };
        let admitted = parts.into_iter().map(|(tracer, traces)| admit(tracer, traces, true));
        let admitted: Result<(Vec<Part>, Vec<Ingested>), _> = admitted.collect();
        let (mut parts, ingested) = admitted.inspect_err(|_| {
            for (tracer, Traces(payload)) in &arrived {
                tracer.lane().note_refused_payload(payload, caller);
            }
        })?;
        // After all parts have a place: a copy takes room from none of them.
        for (part, (tracer, traces)) in parts.iter_mut().zip(originals) {
            part.copies = offer(&tracer, &traces, true);
        }
        let arrived = arrived.into_iter().map(|(_, traces)| traces).collect();
        Ok(parts::accept(parts, arrived, caller, ingested))
    }
}

impl TracerRegistry {
    /// Returns whether [`ingest`](Self::ingest) takes long if these parts are large: it applies rules
    /// of redaction, or compresses them, because they go to disk.
    pub fn takes_long(&self, parts: &[(TracerHandle, Traces)]) -> bool {
        parts.iter().any(|(tracer, _)| {
            let lane = tracer.lane();
            let mut targets = lane.copies.iter().flat_map(|copies| copies.targets());
            let of_target = |target: &CopyTarget<Lane>| {
                let tracer = target.tracer();
                tracer.as_deref().is_some_and(|tracer| takes_long(&tracer.lane))
            };
            takes_long(lane) || targets.any(|target| of_target(target))
        })
    }
}

/// Returns whether a place in a lane takes long for large data.
fn takes_long(lane: &Lane) -> bool {
    #[cfg(feature = "redact")]
    if lane.policies.redaction.is_some() {
        return true;
    }
    #[cfg(feature = "spool")]
    if lane.saves_spans() {
        return true;
    }
    let _ = lane;
    false
}

/// Offers what a client sent for a tracer to the targets of its copies, as a request of their own.
/// What one of them refuses is counted once the request itself is accepted. `samples` says whether
/// their ratios apply.
fn offer(source: &TracerHandle, original: &Traces, samples: bool) -> Vec<PartCopy> {
    let targets = source.lane().copies.iter().flat_map(|copies| copies.targets());
    let copies = targets.map(|target| {
        let Some(tracer) = target.tracer().as_deref().and_then(TracerHandle::of_target) else {
            return PartCopy::lost(target, original.spans());
        };
        match admit(tracer.clone(), original.clone(), samples) {
            Ok((part, ingested)) => PartCopy::placed(part, ingested.accepted, ingested.too_large),
            Err(error) => {
                let Traces(payload) = original.clone();
                let rules = tracer.payload_rules();
                let wanted = payload.retain(|trace_id, _| !samples || rules.is_sampled(trace_id));
                PartCopy::refused(tracer, &wanted, error.drop_reason())
            }
        }
    });
    copies.collect()
}

/// Finds a place for the spans that the binding lets pass. `samples` says whether its ratio applies.
fn admit(tracer: TracerHandle, Traces(mut payload): Traces, samples: bool) -> Result<(Part, Ingested), IngestError> {
    let (rules, lane) = (tracer.payload_rules(), tracer.lane());
    let bytes = payload.bytes().len();
    if let Some(max) = rules.request_bytes.filter(|max| bytes > *max) {
        let selector = tracer.selector().clone();
        return Err(IngestError::TooLarge { selector, bytes, max });
    }
    let mut ingested = Ingested::default();
    let mut left_out = LeftOut::default();
    if rules.may_leave_out() {
        payload = payload.retain(|trace_id, bytes| {
            let key = || lane.trace_keys(|| vec![TraceId::from_bytes(trace_id)]);
            if samples && !rules.is_sampled(trace_id) {
                ingested.sampled_out += 1;
                left_out.sampled_out.extend(key());
            } else if rules.span_bytes.is_some_and(|max| bytes > max) {
                ingested.too_large += 1;
                left_out.too_large.extend(key());
            } else {
                return true;
            }
            false
        });
    }
    ingested.accepted = payload.spans() as u64;
    let amount = Amount {
        spans: ingested.accepted,
        bytes: payload.bytes().len() as u64,
        requests: 1,
    };
    let charge = parts::charge(&tracer, amount)?;
    #[cfg(feature = "redact")]
    if let Some(redaction) = &lane.policies.redaction {
        payload.redact_bounded(redaction).map_err(|_| {
            let selector = tracer.selector().clone();
            IngestError::TooLargeToRedact { selector }
        })?;
    }
    let mut part = Part::of(tracer, payload, charge)?;
    (part.sampled_out, part.left_out) = (ingested.sampled_out, left_out);
    Ok((part, ingested))
}
