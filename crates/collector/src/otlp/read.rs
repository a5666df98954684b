//! Converts protobuf messages to the collector's model.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{self as common, any_value};
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use serde_json::{Value, json};

use crate::model::{
    Attributes, Fingerprint, InstrumentationScope, Resource, Span, SpanEvent, SpanLink, SpanStatus, byte_size,
};

/// A span to store.
pub(crate) struct Arrival {
    pub(crate) span: Arc<Span>,
    /// Estimated memory.
    pub(crate) bytes: usize,
    /// Name of the session to create automatically.
    pub(crate) auto_session: Option<String>,
}

/// Spans of a request.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) arrivals: Vec<Arrival>,
    /// Number of spans with invalid ids.
    pub(crate) rejected: u64,
    /// Reason for the first of them.
    pub(crate) rejection: Option<String>,
}

/// Converts the spans of a request. Counts those with invalid ids.
pub(crate) fn read(request: ExportTraceServiceRequest, key: Fingerprint, source: Option<&str>) -> Batch {
    let mut batch = Batch::default();
    for (resource_index, group) in request.resource_spans.into_iter().enumerate() {
        let resource = Arc::new(resource(group.resource.unwrap_or_default(), group.schema_url));
        for (scope_index, group) in group.scope_spans.into_iter().enumerate() {
            let scope = Arc::new(scope(group.scope.unwrap_or_default(), group.schema_url));
            // The spans of the group share resource and scope, so each is charged a part of their
            // size.
            let shared_bytes = byte_size::resource(&resource) + byte_size::scope(&scope);
            let each_bytes = shared_bytes / group.spans.len().max(1);
            for (span_index, span) in group.spans.into_iter().enumerate() {
                if let Some(reason) = invalid_id(&span) {
                    batch.rejected += 1;
                    batch.rejection.get_or_insert_with(|| {
                        format!(
                            "resourceSpans[{resource_index}].scopeSpans[{scope_index}].spans[{span_index}]: {reason}"
                        )
                    });
                    continue;
                }
                let span = self::span(span, key, source, &resource, &scope);
                let bytes = byte_size::span(&span) + each_bytes;
                let auto_session = auto_session(&span);
                batch.arrivals.push(Arrival {
                    span: Arc::new(span),
                    bytes,
                    auto_session,
                });
            }
        }
    }
    batch
}

/// Returns why an id of the span is invalid in OTLP: it has a wrong length, or is all zeros.
fn invalid_id(span: &trace::Span) -> Option<String> {
    let reason = |name: &str, id: &[u8], length: usize| match id {
        _ if id.len() != length => Some(format!("{name} has {} bytes, expected {length}", id.len())),
        _ if is_zero(id) => Some(format!("{name} is all zeros")),
        _ => None,
    };
    let parent_reason = || {
        // A root has no parent id; some clients send zeros.
        let absent =
            span.parent_span_id.is_empty() || (span.parent_span_id.len() == 8 && is_zero(&span.parent_span_id));
        if absent {
            None
        } else {
            reason("parentSpanId", &span.parent_span_id, 8)
        }
    };
    reason("traceId", &span.trace_id, 16)
        .or_else(|| reason("spanId", &span.span_id, 8))
        .or_else(parent_reason)
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|byte| *byte == 0)
}

fn span(
    span: trace::Span,
    key: Fingerprint,
    source: Option<&str>,
    resource: &Arc<Resource>,
    scope: &Arc<InstrumentationScope>,
) -> Span {
    let (attributes, duplicate_attributes) = attributes(span.attributes);
    let session_id = ["honeyhive.session_id", "session.id"]
        .iter()
        .find_map(|name| attributes.get(*name)?.as_str().filter(|id| !id.is_empty()))
        .map(str::to_owned);
    let status = span.status.unwrap_or_default();
    Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: (!is_zero(&span.parent_span_id)).then(|| hex(&span.parent_span_id)),
        name: span.name,
        kind: span.kind.into(),
        start_unix_nanos: span.start_time_unix_nano,
        end_unix_nanos: span.end_time_unix_nano,
        attributes,
        duplicate_attributes,
        dropped_attributes: span.dropped_attributes_count,
        events: span.events.into_iter().map(event).collect(),
        dropped_events: span.dropped_events_count,
        links: span.links.into_iter().map(link).collect(),
        dropped_links: span.dropped_links_count,
        status: SpanStatus {
            code: status.code.into(),
            message: status.message,
        },
        trace_state: span.trace_state,
        flags: span.flags,
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        session_id,
        source: source.map(str::to_owned),
        key,
        sequence: 0,
    }
}

/// Returns the name of the session that a span creates automatically; empty if it has no name.
fn auto_session(span: &Span) -> Option<String> {
    let wanted = match span.attributes.get("honeyhive.session_auto_create")? {
        Value::Bool(wanted) => *wanted,
        Value::String(text) => text == "true",
        _ => false,
    };
    let name = || {
        span.attributes
            .get("honeyhive.session_name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    wanted.then(name)
}

fn event(event: trace::span::Event) -> SpanEvent {
    SpanEvent {
        name: event.name,
        time_unix_nanos: event.time_unix_nano,
        attributes: attributes(event.attributes).0,
        dropped_attributes: event.dropped_attributes_count,
    }
}

fn link(link: trace::span::Link) -> SpanLink {
    SpanLink {
        trace_id: hex(&link.trace_id),
        span_id: hex(&link.span_id),
        trace_state: link.trace_state,
        attributes: attributes(link.attributes).0,
        dropped_attributes: link.dropped_attributes_count,
        flags: link.flags,
    }
}

fn resource(resource: resource::Resource, schema_url: String) -> Resource {
    let dropped_attributes = resource.dropped_attributes_count;
    Resource {
        attributes: attributes(resource.attributes).0,
        dropped_attributes,
        schema_url,
    }
}

fn scope(scope: common::InstrumentationScope, schema_url: String) -> InstrumentationScope {
    InstrumentationScope {
        attributes: attributes(scope.attributes).0,
        dropped_attributes: scope.dropped_attributes_count,
        name: scope.name,
        version: scope.version,
        schema_url,
    }
}

/// Returns the first value of each name, and the number of duplicates.
fn attributes(list: Vec<common::KeyValue>) -> (Attributes, u32) {
    let mut map = Attributes::new();
    let mut duplicates = 0;
    for common::KeyValue { key, value, .. } in list {
        match map.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(self::value(value.unwrap_or_default()));
            }
            std::collections::btree_map::Entry::Occupied(_) => duplicates += 1,
        }
    }
    (map, duplicates)
}

// Recursion is safe: the decoders limit the depth to 100 levels of protobuf and 128 of JSON.
fn value(value: common::AnyValue) -> Value {
    match value.value {
        // Only profiles have a string table.
        None | Some(any_value::Value::StringValueStrindex(_)) => Value::Null,
        Some(any_value::Value::StringValue(text)) => Value::String(text),
        Some(any_value::Value::BoolValue(flag)) => Value::Bool(flag),
        Some(any_value::Value::IntValue(number)) => number.into(),
        Some(any_value::Value::DoubleValue(number)) => double(number),
        Some(any_value::Value::ArrayValue(array)) => array.values.into_iter().map(self::value).collect(),
        Some(any_value::Value::KvlistValue(list)) => Value::Object(attributes(list.values).0.into_iter().collect()),
        Some(any_value::Value::BytesValue(bytes)) => json!({ "bytesValue": STANDARD.encode(bytes) }),
    }
}

/// Converts a number. NaN and infinities get their names in the JSON mapping of protobuf.
fn double(number: f64) -> Value {
    let name = match number {
        _ if number.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => return number.into(),
    };
    Value::from(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // Writing to a `String` cannot fail.
            text
        })
}
