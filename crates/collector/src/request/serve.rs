//! Serves a call, or applies a fault to it.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::answer::{self, Refusal};
use super::call::{Call, Outcome};
use super::{honeyhive, traces};
use crate::faults::fault::{Action, Answer};
use crate::faults::list::Hit;
use crate::model::{Endpoint, Format};
use crate::otlp;
use crate::server::wire::Breaker;

/// Bytes of a truncated response that are sent: its head and a part of its body.
const TRUNCATED_AFTER_BYTES: usize = 1024;

/// Serves a call without a fault.
pub(super) async fn serve(call: &Call<'_>, body: Result<Bytes, Refusal>) -> Outcome {
    let served = match body {
        Ok(body) => store(call, body).await,
        Err(refusal) => Err(refusal),
    };
    served.unwrap_or_else(|refusal| refusal.to_response(call.answer_format()).into())
}

async fn store(call: &Call<'_>, body: Bytes) -> Result<Outcome, Refusal> {
    match call.endpoint {
        Endpoint::Traces => traces::traces(call, body).await,
        Endpoint::Sessions => honeyhive::session(call, object(call, body).await?),
        Endpoint::Events => honeyhive::event(call, object(call, body).await?),
    }
}

async fn object(call: &Call<'_>, body: Bytes) -> Result<Map<String, Value>, Refusal> {
    honeyhive::check_type(call.content_type)?;
    let max_memory = call.max_memory();
    let read = move || Ok(otlp::parse_object(&body, max_memory)?);
    call.serving.read(read).await
}

/// Applies a fault. `None` if it breaks the connection.
pub(super) async fn apply_fault(call: &mut Call<'_>, hit: Hit, body: Result<Bytes, Refusal>) -> Option<Outcome> {
    call.shared().store.changes.notify();
    let breaker = call.parts.extensions.get::<Breaker>();
    if matches!(hit.action, Action::LoseAnswer) {
        let outcome = serve(call, body).await;
        call.finish(outcome);
        tokio::time::sleep(hit.delay).await;
        breaker?.reset();
        return None;
    }
    if !hit.delay.is_zero() {
        tokio::time::sleep(hit.delay).await;
    }
    match hit.action {
        Action::Serve | Action::LoseAnswer => {}
        Action::Hang => call.shared().faults.until_cleared(hit.id).await,
        Action::RejectSpans(spans) => call.reject_spans = spans,
        Action::Answer(answer) => return Some(planned_response(&answer, call.answer_format()).into()),
        Action::Garbage => {
            let garbage: &[u8] = b"\xff\xfe neither protobuf nor JSON \x00";
            let content_type = match call.answer_format() {
                Format::Protobuf | Format::Grpc => "application/x-protobuf",
                Format::Json => "application/json",
            };
            return Some(answer::with_type(StatusCode::OK, content_type, garbage).into());
        }
        Action::Reset => {
            breaker?.reset();
            return None;
        }
        Action::Truncate => {
            let mut outcome = serve(call, body).await;
            breaker?.close_after(TRUNCATED_AFTER_BYTES);
            let body = vec![b' '; 64 * TRUNCATED_AFTER_BYTES];
            outcome.response = answer::with_type(outcome.response.status(), "application/json", body);
            return Some(outcome);
        }
    }
    Some(serve(call, body).await)
}

fn planned_response(planned: &Answer, format: Format) -> Response {
    let status = StatusCode::from_u16(planned.status).ok();
    let status = status
        .filter(|status| (200..600).contains(&status.as_u16()))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &planned.body {
        Some(text) => answer::with_type(status, "text/plain; charset=utf-8", text.clone()),
        None if status.is_success() || status == StatusCode::NOT_MODIFIED => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
        }
        None => answer::rpc_status(status, "simulated fault", format),
    };
    for (name, value) in [(RETRY_AFTER, &planned.retry_after), (LOCATION, &planned.location)] {
        if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
