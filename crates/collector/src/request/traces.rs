//! Serves trace exports.

use std::collections::HashSet;

use bytes::Bytes;

use super::answer::{self, Refusal};
use super::call::{Call, Outcome};
use crate::otlp;

/// Stores the spans of an export, except invalid ones and those that a fault rejects.
pub(super) async fn traces(call: &Call<'_>, body: Bytes) -> Result<Outcome, Refusal> {
    let Some(format) = call.content_type.format() else {
        return Err(call
            .content_type
            .unsupported("application/x-protobuf, application/json or application/grpc"));
    };
    let source = call.parts.headers.get("x-source");
    let source = source.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (key, max_memory) = (call.key, call.max_memory());
    let read = move || {
        let request = otlp::parse(format, &body, max_memory)?;
        Ok(otlp::read(request, key, source.as_deref()))
    };
    let mut batch = call.serving.read(read).await?;

    let refused = usize::try_from(call.reject_spans).unwrap_or(usize::MAX);
    batch.arrivals.drain(..refused.min(batch.arrivals.len()));
    // The response has the number of the fault even if the request has fewer spans.
    let rejected_spans = batch.rejected + call.reject_spans;
    let message = batch
        .rejection
        .unwrap_or_else(|| "rejected by a simulated fault".to_owned());

    let sessions = batch.arrivals.iter();
    let sessions = sessions.filter_map(|arrival| arrival.span.session_id.as_ref());
    let mut known = HashSet::new();
    let sessions = sessions.filter(|session| known.insert(*session)).cloned().collect();
    let store = &call.shared().store;
    let stored = store.add_spans(call.project, batch.arrivals, rejected_spans);
    Ok(Outcome {
        response: answer::exported(rejected_spans, &message, format),
        stored,
        rejected_spans,
        sessions,
    })
}
