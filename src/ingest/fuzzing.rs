//! Fuzz target: requests to the session API.

use std::sync::LazyLock;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::session_json::{SessionCall, SessionRequest};
use super::session_spans;
use crate::backend::{chooses_project, parse_session_id};
use crate::config::{BackendName, Binding, Export, ExportMode, SessionMode};
use crate::export::Payload;
use crate::registry::TracerRegistry;
use crate::secret::{KeySource, SecretError};
use crate::tracer::TracerHandle;

/// Longest error: a name of 64 bytes, each escaped, and the rule.
const MAX_ERROR_BYTES: usize = 600;
/// Text of an input that no error shows, except as the name of a repeated field.
const HIDDEN: &str = "s3cret";

/// A tracer for each kind of backend that gets spans instead of sessions.
static TRACERS: LazyLock<(TracerRegistry, Vec<TracerHandle>)> = LazyLock::new(|| {
    let binding = |backend| {
        let binding = Binding::new().backend(backend).endpoint("http://127.0.0.1:9");
        binding.api_key(KeySource::provider("fuzzing", "key"))
    };
    let registry = TracerRegistry::builder()
        .export(Export {
            mode: Some(ExportMode::Inline),
            ..Export::default()
        })
        .secret_source("fuzzing", |_: &str| {
            Ok::<_, SecretError>(SecretString::from("user:a-valid-key"))
        })
        .tenant(
            "honeyhive",
            binding(BackendName::Honeyhive).sessions(SessionMode::AutoCreate),
        )
        .tenant("otlp", binding(BackendName::Otlp))
        .tenant("langfuse", binding(BackendName::Langfuse))
        .build()
        .expect("a valid configuration");
    let tenants = ["honeyhive", "otlp", "langfuse"];
    let handles = tenants.map(|tenant| registry.tenant(tenant).expect("configured"));
    (registry, handles.into())
});

/// Reads a request, whose first line is what it asks for: `start`, `bare start`, `event`,
/// `bare event`, `enrich` or `enrich` and an id. Returns whether it is accepted.
///
/// # Panics
/// Panics if ids of the client are lost, if a field chooses a project, or if the request makes an
/// invalid span.
pub fn session(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let body = data.get(end + 1..).unwrap_or_default();
    let first = String::from_utf8_lossy(&data[..end]);
    let (call, wrapper) = match &*first {
        "start" => (SessionCall::Start, Some("session")),
        "bare start" => (SessionCall::BareStart, None),
        "event" => (SessionCall::Event, Some("event")),
        "bare event" => (SessionCall::BareEvent, None),
        "enrich" => (SessionCall::Enrich { id: None }, None),
        _ => {
            let id = first.strip_prefix("enrich ").unwrap_or_default().to_owned();
            (SessionCall::Enrich { id: Some(id) }, None)
        }
    };
    let request = match SessionRequest::from_json(&call, body) {
        Ok(request) => request,
        Err(error) => {
            let error = error.to_string();
            assert!(
                error.len() < MAX_ERROR_BYTES && !error.contains(char::is_control),
                "{error}"
            );
            assert!(!error.contains(HIDDEN) || error.contains("repeated field"), "{error}");
            return false;
        }
    };
    assert!(request.memory() <= SessionRequest::max_memory(body));
    let written: Value = serde_json::from_slice(body).expect("JSON");
    let written = wrapper.map_or(&written, |wrapper| &written[wrapper]);
    assert_fields(&call, &request, written.as_object().expect("an object"));
    for tracer in &TRACERS.1 {
        assert_span(&session_spans::payload(&tracer.lane().destination, &request), &request);
    }
    true
}

/// Compares the fields of a request with those that the client wrote.
fn assert_fields(call: &SessionCall, request: &SessionRequest, written: &Map<String, Value>) {
    let id_of = |name: &str| written.get(name).and_then(Value::as_str).and_then(parse_session_id);
    let id = request.id();
    assert!(!id.is_nil());
    let own = match call {
        SessionCall::Start | SessionCall::BareStart => id_of("session_id").or(id_of("event_id")),
        SessionCall::Event | SessionCall::BareEvent | SessionCall::Enrich { id: None } => id_of("event_id"),
        SessionCall::Enrich { id: Some(id) } => parse_session_id(id),
    };
    assert!(own.is_none_or(|own| own == id));
    let is_enrichment = matches!(call, SessionCall::Enrich { .. });
    assert!(own.is_some() || !is_enrichment, "an enrichment names its session");
    assert!(!request.fields.keys().any(|name| chooses_project(name)));
    let is_id = |name: &String| ["event_id", "session_id"].contains(&name.as_str());
    let kept = written
        .iter()
        .filter(|(name, _)| !is_id(name) && !chooses_project(name));
    assert!(kept.eq(request.fields.iter().filter(|(name, _)| !is_id(name))));
    let is_start = matches!(call, SessionCall::Start | SessionCall::BareStart);
    let own = if is_start { "session_id" } else { "event_id" };
    assert_eq!(request.fields.get(own), Some(&Value::from(id.to_string())));
    if let Some(session) = id_of("session_id") {
        assert_eq!(
            request.fields.get("session_id"),
            Some(&Value::from(session.to_string()))
        );
    }
}

/// The span of a request is valid, and in the trace of its session.
fn assert_span(payload: &Payload, request: &SessionRequest) {
    let checked = Payload::check(payload.bytes().clone()).expect("a valid request");
    assert_eq!((checked.spans(), payload.spans()), (1, 1));
    let decoded = ExportTraceServiceRequest::decode(&payload.bytes()[..]).expect("a valid request");
    let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    if let Some(session) = request.session {
        assert_eq!(span.trace_id, session.as_bytes());
    }
    let has_own_id = span.span_id == request.id().as_bytes()[8..];
    assert!(
        !has_own_id || span.parent_span_id != span.span_id,
        "a span is not its own parent"
    );
}
