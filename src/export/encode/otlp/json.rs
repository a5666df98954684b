//! Encodes spans of the SDK directly as OTLP/JSON.
//!
//! The format is protobuf's JSON mapping with OTLP's exceptions ("JSON Protobuf Encoding"):
//! hexadecimal ids, 64-bit integers as strings, enumerations as numbers, and the doubles that JSON
//! lacks as `"NaN"`, `"Infinity"` and `"-Infinity"`. `opentelemetry-otlp` writes these three as
//! `null`, which no receiver can read back. For all other values a test checks that the documents
//! are equal.

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, Status};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use serde::{Serialize, Serializer};

use super::{by_scope, deduplicated_attributes, flags, kind, nanos};
use crate::util::json_number;

/// Encodes a request with these spans, grouped by instrumentation scope and otherwise in order.
pub(crate) fn request(spans: &[&SpanData], resource: &Resource) -> serde_json::Result<Vec<u8>> {
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: ResourceMessage {
                attributes: resource
                    .iter()
                    .map(|(key, value)| Attribute {
                        key: key.as_str(),
                        value,
                    })
                    .collect(),
                dropped_attributes_count: 0,
            },
            scope_spans: by_scope(spans)
                .into_iter()
                .map(|(scope, spans)| ScopeSpans {
                    scope: ScopeMessage::of(scope),
                    spans: spans.into_iter().map(SpanMessage::of).collect(),
                    schema_url: scope.schema_url().unwrap_or_default(),
                })
                .collect(),
            schema_url: resource.schema_url().unwrap_or_default(),
        }],
    };
    serde_json::to_vec(&request)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: ResourceMessage<'a>,
    scope_spans: Vec<ScopeSpans<'a>>,
    schema_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMessage<'a> {
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpans<'a> {
    scope: ScopeMessage<'a>,
    spans: Vec<SpanMessage<'a>>,
    schema_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeMessage<'a> {
    name: &'a str,
    version: &'a str,
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanMessage<'a> {
    trace_id: String,
    span_id: String,
    trace_state: String,
    parent_span_id: String,
    flags: u32,
    name: &'a str,
    kind: u64,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
    events: Vec<EventMessage<'a>>,
    dropped_events_count: u32,
    links: Vec<LinkMessage<'a>>,
    dropped_links_count: u32,
    status: StatusMessage<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventMessage<'a> {
    time_unix_nano: String,
    name: &'a str,
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkMessage<'a> {
    trace_id: String,
    span_id: String,
    trace_state: String,
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
    flags: u32,
}

#[derive(Serialize)]
struct StatusMessage<'a> {
    message: &'a str,
    code: u32,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    #[serde(serialize_with = "write_value")]
    value: &'a Value,
}

impl<'a> ScopeMessage<'a> {
    fn of(scope: &'a InstrumentationScope) -> Self {
        Self {
            name: scope.name(),
            version: scope.version().unwrap_or_default(),
            attributes: attributes(deduplicated_attributes(scope)),
            dropped_attributes_count: 0,
        }
    }
}

impl<'a> SpanMessage<'a> {
    fn of(span: &'a SpanData) -> Self {
        let parent = Some(span.parent_span_id).filter(|id| *id != SpanId::INVALID);
        let (message, code) = match &span.status {
            Status::Unset => ("", 0),
            Status::Ok => ("", 1),
            Status::Error { description } => (&**description, 2),
        };
        Self {
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            trace_state: state(&span.span_context),
            parent_span_id: parent.map(|id| id.to_string()).unwrap_or_default(),
            flags: flags(span.parent_span_is_remote, &span.span_context),
            name: &span.name,
            kind: kind(&span.span_kind),
            start_time_unix_nano: nanos(span.start_time).to_string(),
            end_time_unix_nano: nanos(span.end_time).to_string(),
            attributes: attributes(&span.attributes),
            dropped_attributes_count: span.dropped_attributes_count,
            events: span.events.events.iter().map(EventMessage::of).collect(),
            dropped_events_count: span.events.dropped_count,
            links: span.links.links.iter().map(LinkMessage::of).collect(),
            dropped_links_count: span.links.dropped_count,
            status: StatusMessage { message, code },
        }
    }
}

impl<'a> EventMessage<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            time_unix_nano: nanos(event.timestamp).to_string(),
            name: &event.name,
            attributes: attributes(&event.attributes),
            dropped_attributes_count: event.dropped_attributes_count,
        }
    }
}

impl<'a> LinkMessage<'a> {
    fn of(link: &'a Link) -> Self {
        Self {
            trace_id: link.span_context.trace_id().to_string(),
            span_id: link.span_context.span_id().to_string(),
            trace_state: state(&link.span_context),
            attributes: attributes(&link.attributes),
            dropped_attributes_count: link.dropped_attributes_count,
            flags: flags(link.span_context.is_remote(), &link.span_context),
        }
    }
}

fn state(context: &SpanContext) -> String {
    context.trace_state().header()
}

fn attributes<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Vec<Attribute<'a>> {
    let attributes = attributes.into_iter();
    attributes
        .map(|each| Attribute {
            key: each.key.as_str(),
            value: &each.value,
        })
        .collect()
}

/// The variants of an `AnyValue`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names of the specification")]
enum AnyValue<'a> {
    StringValue(&'a str),
    BoolValue(bool),
    IntValue(String),
    #[serde(serialize_with = "json_number::serialize")]
    DoubleValue(f64),
    ArrayValue(ArrayValue<'a>),
}

#[derive(Serialize)]
struct ArrayValue<'a> {
    values: Vec<AnyValue<'a>>,
}

fn write_value<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    match any_value(value) {
        Some(value) => value.serialize(serializer),
        // A future kind of value: write the attribute without a value instead of losing the batch.
        None => serializer.serialize_none(),
    }
}

fn any_value(value: &Value) -> Option<AnyValue<'_>> {
    fn list<'a, T>(values: &'a [T], one: impl Fn(&'a T) -> AnyValue<'a>) -> AnyValue<'a> {
        AnyValue::ArrayValue(ArrayValue {
            values: values.iter().map(one).collect(),
        })
    }
    Some(match value {
        Value::String(text) => AnyValue::StringValue(text.as_str()),
        Value::Bool(value) => AnyValue::BoolValue(*value),
        Value::I64(value) => AnyValue::IntValue(value.to_string()),
        Value::F64(value) => AnyValue::DoubleValue(*value),
        Value::Array(Array::Bool(values)) => list(values, |value| AnyValue::BoolValue(*value)),
        Value::Array(Array::I64(values)) => list(values, |value| AnyValue::IntValue(value.to_string())),
        Value::Array(Array::F64(values)) => list(values, |value| AnyValue::DoubleValue(*value)),
        Value::Array(Array::String(values)) => list(values, |text: &StringValue| AnyValue::StringValue(text.as_str())),
        _ => return None,
    })
}
