//! The HoneyHive API: sessions, enrichments and events.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{self, Refusal};
use super::body::ContentType;
use super::call::{Call, Outcome};
use crate::model::{Format, OperationKind, session};

/// Serves `POST /session/start` with `{"session": {..}}`, and `POST /v1/sessions` with the session
/// object.
pub(crate) fn session(call: &Call<'_>, mut whole: Map<String, Value>) -> Result<Outcome, Refusal> {
    let session = match whole.remove("session") {
        Some(Value::Object(session)) => session,
        None if call.parts.uri.path().ends_with("/v1/sessions") => whole,
        _ => return Err(Refusal::bad_request("the body must be {\"session\": {..}}")),
    };
    session::check(&session).map_err(Refusal::bad_request)?;
    let id = session::id_or_new(session.get("session_id").or_else(|| session.get("event_id")));
    call.shared()
        .store
        .apply(call.project, &id, OperationKind::Start, session);
    let project = call.project_name.map_or_else(|| call.key.to_string(), str::to_owned);
    let answer = json!({
        "event_id": id,
        "session_id": id,
        "org_id": "local",
        "workspace_id": "local",
        "project_id": project,
    });
    Ok(Outcome {
        sessions: vec![id],
        ..answer::json(StatusCode::OK, &answer).into()
    })
}

/// Serves `POST /events` with `{"event": {..}}`, and `PUT /events` with an enrichment.
pub(crate) fn event(call: &Call<'_>, whole: Map<String, Value>) -> Result<Outcome, Refusal> {
    if call.parts.method == Method::PUT {
        enrich(call, whole)
    } else {
        post(call, whole)
    }
}

fn post(call: &Call<'_>, mut whole: Map<String, Value>) -> Result<Outcome, Refusal> {
    let Some(Value::Object(event)) = whole.remove("event") else {
        return Err(Refusal::bad_request("the body must be {\"event\": {..}}"));
    };
    session::check(&event).map_err(Refusal::bad_request)?;
    let id = session::id_or_new(event.get("event_id"));
    let session = event.get("session_id").and_then(Value::as_str).map(str::to_owned);
    call.shared().store.add_event(call.project, id.clone(), event, call.key);
    let answer = json!({ "success": true, "event_id": id });
    Ok(Outcome {
        sessions: session.into_iter().collect(),
        ..answer::json(StatusCode::OK, &answer).into()
    })
}

/// Enriches a session or event. An unknown id creates a session that is
/// [`EnrichedOnly`](crate::SessionOrigin::EnrichedOnly), so tests see a wrong order.
fn enrich(call: &Call<'_>, whole: Map<String, Value>) -> Result<Outcome, Refusal> {
    let id = match whole.get("event_id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => session::canonical(id),
        _ => return Err(Refusal::bad_request("event_id must be a non-empty string")),
    };
    session::check(&whole).map_err(Refusal::bad_request)?;
    call.shared()
        .store
        .apply(call.project, &id, OperationKind::Enrich, whole);
    let answer = json!({ "success": true, "event_id": id });
    Ok(Outcome {
        sessions: vec![id],
        ..answer::json(StatusCode::OK, &answer).into()
    })
}

/// Checks that the content type is JSON or missing.
pub(crate) fn check_type(content_type: &ContentType) -> Result<(), Refusal> {
    match content_type {
        ContentType::Known(Format::Json) | ContentType::Missing => Ok(()),
        other => Err(other.unsupported("application/json")),
    }
}
