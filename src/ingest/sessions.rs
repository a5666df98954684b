//! Requests to the session API, on their way into a lane.

use serde_json::{Map, Value, json};
#[cfg(feature = "spool")]
use tracer_registry_spool::AppendError;

use super::accepted::Accepted;
#[cfg(feature = "spool")]
use super::accepted::Durable;
use super::error::IngestError;
use super::offer;
use super::parts::{self, Part};
use super::session_json::{Kind, SessionRequest};
use super::session_spans;
use super::traces::Traces;
use crate::backend::Destination;
#[cfg(feature = "redact")]
use crate::export::redact_session;
use crate::export::{Pushed, RequestKind, SessionEvent, SessionQueue};
use crate::policy::quota::Amount;
#[cfg(feature = "spool")]
use crate::policy::quota::Charge;
use crate::registry::TracerRegistry;
use crate::selector::Slug;
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Queues a request to the session API for the tracer of a handle. Never blocks.
    ///
    /// If the backend has a session API, the request becomes a session event of the tracer. Requests
    /// of one session are sent in the order of the calls. A start and an event get the binding's
    /// `source` and `metadata`, as far as the client has not set them.
    ///
    /// Otherwise, or if the binding has `sessions = "auto_create"`, it becomes a span. As with
    /// sessions of the program, `sampling.ratio` does not apply.
    ///
    /// It counts in the tenant's `quota`: one request, its uncompressed bytes and, if it becomes a
    /// span, one span.
    ///
    /// What the binding redacts is removed first, by the paths and names of the fields.
    ///
    /// `caller` is the caller of the gateway that sent it, as `explain` shows it.
    ///
    /// # Errors
    /// Returns an [`IngestError`] if the request cannot be queued. Then nothing is queued or counted.
    pub fn ingest_session(
        &self,
        caller: Option<&Slug>,
        tracer: &TracerHandle,
        request: SessionRequest,
    ) -> Result<Accepted<()>, IngestError> {
        if !self.is_open() {
            return Err(IngestError::Closed);
        }
        let too_large = |bytes, max| {
            let selector = tracer.selector().clone();
            Err(IngestError::TooLarge { selector, bytes, max })
        };
        let limit = tracer.payload_rules().request_bytes;
        if let Some(max) = limit.filter(|max| request.bytes > *max) {
            return too_large(request.bytes, max);
        }
        let lane = tracer.lane();
        let destination = &lane.destination;
        let amount = Amount {
            spans: u64::from(destination.sessions.is_none()),
            bytes: request.bytes as u64,
            requests: 1,
        };
        let charge = parts::charge(tracer, amount)?;
        let mut request = request;
        let is_event = destination.sessions.is_some();
        if is_event && request.kind != Kind::Enrich {
            // Before redaction, which also applies to the binding's metadata.
            add_binding(destination, &mut request.fields);
        }
        #[cfg(feature = "redact")]
        if let Some(redaction) = &lane.policies.redaction {
            let source = destination.source.as_deref().filter(|_| is_event);
            redact_session(redaction, source, &mut request.fields);
        }
        if !is_event {
            let payload = session_spans::payload(destination, &request);
            // Copies get the rules of their own tracers too.
            let arrived = vec![Traces(payload.clone())];
            #[cfg(feature = "redact")]
            let payload = payload.with_redacted(lane.policies.redaction.is_some());
            let part = Part::of(tracer.clone(), payload, charge);
            let mut part = part.inspect_err(|_| lane.note_refused_payload(&arrived[0].0, caller))?;
            // The tenant's own ratio does not apply either.
            part.copies = offer(tracer, &arrived[0], false);
            return Ok(parts::accept(vec![part], arrived, caller, ()));
        }
        let SessionRequest {
            kind,
            id,
            session,
            fields,
            ..
        } = request;
        let event = match kind {
            Kind::Start => SessionEvent::Start(json!({ "session": fields })),
            Kind::Single => SessionEvent::Single(json!({ "event": fields })),
            Kind::Enrich => SessionEvent::Enrich(fields),
        };
        let bytes = event.byte_size() + SessionQueue::SENDER_BYTES;
        let max = lane.shared().budget.largest_share();
        if bytes > max {
            return too_large(bytes, max);
        }
        let pushed = match (kind, session) {
            (Kind::Single, Some(session)) => SessionQueue::try_push_single(lane, id, session, event),
            _ => SessionQueue::of(lane, id).try_push(event),
        };
        match pushed {
            Ok(Pushed::Now) => {
                if let Some(charge) = charge {
                    charge.keep();
                }
                Ok(Accepted::Now(()))
            }
            #[cfg(feature = "spool")]
            Ok(Pushed::OnceSaved(saved)) => {
                let selector = tracer.selector().clone();
                // Kept if the caller does not wait: the request is sent all the same.
                let refund = charge.map(Charge::keep_or_refund);
                let saved = async move {
                    let result = saved.await.unwrap_or(Err(AppendError::Closed));
                    if let (Err(_), Some(refund)) = (&result, refund) {
                        refund();
                    }
                    result.map_err(|error| IngestError::of_append(&error, &selector))
                };
                Ok(Accepted::OnceDurable(Durable::new((), saved)))
            }
            Err(reason) => {
                lane.log_refused_request(RequestKind::SessionEvents, reason);
                Err(IngestError::full(reason, tracer.selector()))
            }
        }
    }
}

/// Adds the binding's source and metadata, unless the client has set them.
fn add_binding(destination: &Destination, fields: &mut Map<String, Value>) {
    if let Some(source) = &destination.source {
        let given = fields.entry("source").or_insert(Value::Null);
        if given.is_null() {
            *given = source.as_ref().into();
        }
    }
    if !destination.metadata.is_empty() {
        let given = fields.entry("metadata").or_insert(Value::Null);
        let mut metadata = destination.metadata.clone();
        if let Value::Object(of_client) = given.take() {
            metadata.extend(of_client);
        }
        *given = metadata.into();
    }
}
