//! Encodes spans of the SDK directly as an `ExportTraceServiceRequest`: protobuf here, JSON in
//! `json`.
//!
//! Field numbers are those of opentelemetry-proto's `trace.proto`, `common.proto` and
//! `resource.proto`. The result equals that of `opentelemetry-otlp` byte for byte, which a test
//! checks. That crate builds a tree of messages with a copy of every string; this one does not.

pub(crate) mod json;
#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use super::protobuf::ReverseWriter;

/// Typical size of an encoded span with a few attributes.
const TYPICAL_SPAN_BYTES: usize = 256;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit is valid.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
const IS_REMOTE: u32 = 0x200;

/// Encodes a request with these spans, grouped by instrumentation scope and otherwise in order.
pub(crate) fn request(spans: &[&SpanData], resource: &Resource) -> Bytes {
    let mut out = ReverseWriter::with_capacity((spans.len() + 2) * TYPICAL_SPAN_BYTES);
    let by_scope = by_scope(spans);
    out.message(1, |out| {
        out.text(3, resource.schema_url().unwrap_or_default());
        for (scope, spans) in by_scope.iter().rev() {
            out.message(2, |out| {
                out.text(3, scope.schema_url().unwrap_or_default());
                spans
                    .iter()
                    .rev()
                    .for_each(|span| out.message(2, |out| write_span(out, span)));
                out.message(1, |out| write_scope(out, scope));
            });
        }
        out.message(1, |out| {
            let attributes: Vec<_> = resource.iter().collect();
            for (key, value) in attributes.into_iter().rev() {
                attribute(out, 1, key, value);
            }
        });
    });
    out.finish()
}

/// Groups spans by scope, in the order of first occurrence.
fn by_scope<'a>(spans: &[&'a SpanData]) -> Vec<(&'a InstrumentationScope, Vec<&'a SpanData>)> {
    let mut groups: Vec<(&InstrumentationScope, Vec<&SpanData>)> = Vec::new();
    let mut last = 0;
    for span in spans {
        let scope = &span.instrumentation_scope;
        let of_scope = |group: &(&InstrumentationScope, _)| group.0 == scope;
        // Most spans have the scope of the previous one, and programs have few scopes.
        if !groups.get(last).is_some_and(of_scope) {
            last = groups.iter().position(of_scope).unwrap_or_else(|| {
                groups.push((scope, Vec::new()));
                groups.len() - 1
            });
        }
        groups[last].1.push(span);
    }
    groups
}

fn write_scope(out: &mut ReverseWriter, scope: &InstrumentationScope) {
    write_attributes(out, 3, deduplicated_attributes(scope).into_iter().rev());
    out.text(2, scope.version().unwrap_or_default());
    out.text(1, scope.name());
}

/// Returns the attributes of a scope without duplicate keys (OTLP, "attribute keys MUST be
/// unique"); the last value wins. Attributes of spans, events and links are deduplicated by
/// [`Destination::finish`](crate::backend::Destination::finish).
fn deduplicated_attributes(scope: &InstrumentationScope) -> Vec<&KeyValue> {
    let attributes: Vec<&KeyValue> = scope.attributes().collect();
    let is_last =
        |(index, each): &(usize, &&KeyValue)| !attributes[index + 1..].iter().any(|later| later.key == each.key);
    attributes
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, each)| *each)
        .collect()
}

fn write_span(out: &mut ReverseWriter, span: &SpanData) {
    out.fixed_32(16, flags(span.parent_span_is_remote, &span.span_context));
    out.message(15, |out| write_status(out, &span.status));
    out.unsigned(14, span.links.dropped_count.into());
    span.links
        .links
        .iter()
        .rev()
        .for_each(|link| out.message(13, |out| write_link(out, link)));
    out.unsigned(12, span.events.dropped_count.into());
    span.events
        .events
        .iter()
        .rev()
        .for_each(|event| out.message(11, |out| write_event(out, event)));
    out.unsigned(10, span.dropped_attributes_count.into());
    write_attributes(out, 9, span.attributes.iter().rev());
    out.fixed_64(8, nanos(span.end_time));
    out.fixed_64(7, nanos(span.start_time));
    out.varint_always(6, kind(&span.span_kind));
    out.text(5, &span.name);
    if span.parent_span_id != SpanId::INVALID {
        out.bytes(4, &span.parent_span_id.to_bytes());
    }
    write_ids(out, &span.span_context);
}

/// Writes the first three fields of a span or a link.
fn write_ids(out: &mut ReverseWriter, context: &SpanContext) {
    if *context.trace_state() != TraceState::NONE {
        out.text(3, &context.trace_state().header());
    }
    out.bytes(2, &context.span_id().to_bytes());
    out.bytes(1, &context.trace_id().to_bytes());
}

fn write_link(out: &mut ReverseWriter, link: &Link) {
    out.fixed_32(6, flags(link.span_context.is_remote(), &link.span_context));
    out.unsigned(5, link.dropped_attributes_count.into());
    write_attributes(out, 4, link.attributes.iter().rev());
    write_ids(out, &link.span_context);
}

fn write_event(out: &mut ReverseWriter, event: &Event) {
    out.unsigned(4, event.dropped_attributes_count.into());
    write_attributes(out, 3, event.attributes.iter().rev());
    out.text(2, &event.name);
    out.fixed_64(1, nanos(event.timestamp));
}

fn write_status(out: &mut ReverseWriter, status: &Status) {
    match status {
        Status::Unset => {}
        Status::Ok => out.unsigned(3, 1),
        Status::Error { description } => {
            out.unsigned(3, 2);
            out.text(2, description);
        }
    }
}

/// Writes attributes, given in reverse order.
fn write_attributes<'a>(out: &mut ReverseWriter, field: u32, attributes: impl Iterator<Item = &'a KeyValue>) {
    attributes.for_each(|each| attribute(out, field, &each.key, &each.value));
}

/// Writes an attribute as a field of its owner.
pub(crate) fn attribute(out: &mut ReverseWriter, field: u32, key: &Key, value: &Value) {
    out.message(field, |out| {
        out.message(2, |out| write_value(out, value));
        out.text(1, key.as_str());
    });
}

fn write_value(out: &mut ReverseWriter, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Bool(value) => write_bool(out, *value),
        Value::I64(value) => write_integer(out, *value),
        Value::F64(value) => write_double(out, *value),
        Value::Array(Array::Bool(values)) => write_list(out, values, |out, value| write_bool(out, *value)),
        Value::Array(Array::I64(values)) => write_list(out, values, |out, value| write_integer(out, *value)),
        Value::Array(Array::F64(values)) => write_list(out, values, |out, value| write_double(out, *value)),
        Value::Array(Array::String(values)) => write_list(out, values, write_text),
        // A future kind of value: write the attribute without a value instead of losing the batch.
        _ => {}
    }
}

fn write_text(out: &mut ReverseWriter, value: &StringValue) {
    out.bytes(1, value.as_str().as_bytes());
}

fn write_bool(out: &mut ReverseWriter, value: bool) {
    out.varint_always(2, value.into());
}

fn write_integer(out: &mut ReverseWriter, value: i64) {
    out.varint_always(3, value.cast_unsigned());
}

fn write_double(out: &mut ReverseWriter, value: f64) {
    out.fixed_64_always(4, value.to_bits());
}

fn write_list<T>(out: &mut ReverseWriter, values: &[T], write: impl Fn(&mut ReverseWriter, &T)) {
    out.message(5, |out| {
        values
            .iter()
            .rev()
            .for_each(|value| out.message(1, |out| write(out, value)));
    });
}

fn flags(is_remote: bool, context: &SpanContext) -> u32 {
    let sampling = u32::from(context.trace_flags().to_u8());
    sampling | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// Returns nanoseconds since 1970: zero for earlier times, wrapping after 2554, as in the SDK.
#[expect(clippy::cast_possible_truncation, reason = "wraps in the year 2554")]
fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
