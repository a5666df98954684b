//! Entry point of requests: the checks in order.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::answer::{self, Refusal};
use super::body::{self, Coding, ContentType};
use super::call::Call;
use super::recorder::RecordedRequest;
use super::{grpc, serve};
use crate::model::{Endpoint, Fingerprint, Format};
use crate::server::activity::Activity;
use crate::server::serving::{Serving, ServingRef, Shared};

/// Handles every request that is not for the read-back API.
pub(crate) async fn receive(State(serving): State<ServingRef>, request: Request) -> Response {
    let is_grpc = grpc::is_grpc(request.headers());
    let response = respond(&serving, request).await;
    if is_grpc {
        grpc::translate(response).await
    } else {
        response
    }
}

async fn respond(serving: &Serving, request: Request) -> Response {
    let shared = &*serving.shared;
    let (parts, body) = request.into_parts();
    let Some(endpoint) = Endpoint::of(parts.uri.path()) else {
        return answer::not_found(parts.uri.path());
    };
    if !endpoint.methods().contains(&parts.method) {
        return answer::method_not_allowed(endpoint.methods());
    }
    let Some(mut held) = serving.budget.hold(0) else {
        return Refusal::busy().to_response(Format::Json);
    };
    // Read the body before any refusal: a client that is still writing may miss the response.
    let wire = body::collect(body, shared.max_body_bytes, serving.client_timeout, &mut held).await;
    if wire.is_err() {
        held.release();
    }
    let _responding = parts.extensions.get::<Activity>().map(Activity::start_response);
    let wire_bytes = wire.as_ref().map_or(0, Bytes::len);
    let body = match wire {
        Ok(wire) => match decompress(serving, &parts.headers, &wire).await {
            // The decompressed body counts too, because the request may have to wait.
            Ok(body) if body.len() > wire.len() && !held.grow(body.len()) => Err((Refusal::busy(), wire)),
            decompressed => decompressed.map_err(|refusal| (refusal, wire)),
        },
        Err(refusal) => Err((refusal, Bytes::new())),
    };
    let seen = body.as_ref().unwrap_or_else(|(_, wire)| wire).clone();
    let content_type = ContentType::of(&parts.headers);
    let format = content_type.format();

    let Some(key) = shared.key_headers.key_of(&parts.headers) else {
        record(shared, &parts, seen, None, None);
        shared.store.count_without_key();
        return Refusal::no_key().to_response(format.unwrap_or(Format::Json));
    };
    let key = shared.fingerprints.of(&key);
    let Some((project, project_name)) = shared.store.open(key) else {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "maximum number of projects reached");
        return refusal.to_response(format.unwrap_or(Format::Json));
    };
    let project_name = project_name.as_deref();
    let body_bytes = seen.len();
    record(shared, &parts, seen.clone(), Some(key), project_name);

    let mut call = Call {
        serving,
        parts: &parts,
        endpoint,
        key,
        project,
        project_name,
        content_type: &content_type,
        wire_bytes,
        body_bytes,
        reject_spans: 0,
    };
    let body = body.map_err(|(refusal, _)| refusal);
    let outcome = match shared.faults.hit(key, endpoint, &seen) {
        Some(hit) => serve::apply_fault(&mut call, hit, body).await,
        None => Some(serve::serve(&call, body).await),
    };
    match outcome {
        Some(outcome) => call.finish(outcome),
        None => Response::new(Body::empty()),
    }
}

/// Returns the decompressed message of a body.
async fn decompress(serving: &Serving, headers: &HeaderMap, wire: &Bytes) -> Result<Bytes, Refusal> {
    let (coding, message) = body::message(headers, wire)?;
    if coding == Coding::Identity {
        return Ok(message);
    }
    let limit_bytes = serving.shared.max_body_bytes;
    serving.read(move || coding.decompress(&message, limit_bytes)).await
}

fn record(shared: &Shared, parts: &Parts, body: Bytes, key: Option<Fingerprint>, project: Option<&str>) {
    let Some(recorder) = &shared.recorder else { return };
    recorder.record(RecordedRequest {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: shared.key_headers.redacted(&parts.headers, key.is_some()),
        body,
        key,
        project: project.map(str::to_owned),
    });
    shared.store.changes.notify();
}
