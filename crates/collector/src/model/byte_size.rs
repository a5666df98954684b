//! Estimates of the memory that values take.
//!
//! Wire lengths are a bad estimate: an attribute with a map of one number takes about ten bytes on
//! the wire and more than a thousand in memory. So allocations are counted: map nodes, texts,
//! arrays.

use serde_json::{Map, Value};

use super::span::{Attributes, InstrumentationScope, Resource, Span, SpanEvent, SpanLink};

/// Size of a map node, which always has room for eleven names and values.
pub(crate) const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;

/// Nodes are at least half full, except the root.
pub(crate) const ENTRIES_PER_NODE: usize = 6;

/// Overhead of the allocator and of queue entries.
pub(crate) const OVERHEAD_BYTES: usize = 128;

/// Returns the size of a span, without its shared resource and scope.
pub(crate) fn span(span: &Span) -> usize {
    let texts = [
        &span.trace_id,
        &span.span_id,
        &span.name,
        &span.trace_state,
        &span.status.message,
    ];
    let optional = [&span.parent_span_id, &span.session_id, &span.source];
    let texts = texts.into_iter().chain(optional.into_iter().flatten());
    size_of::<Span>()
        + OVERHEAD_BYTES
        + texts.map(String::len).sum::<usize>()
        + attributes(&span.attributes)
        + span.events.iter().map(event).sum::<usize>()
        + span.links.iter().map(link).sum::<usize>()
}

pub(crate) fn resource(resource: &Resource) -> usize {
    size_of::<Resource>() + attributes(&resource.attributes)
}

pub(crate) fn scope(scope: &InstrumentationScope) -> usize {
    size_of::<InstrumentationScope>() + scope.name.len() + scope.version.len() + attributes(&scope.attributes)
}

/// Returns the size of a JSON object.
pub(crate) fn object(object: &Map<String, Value>) -> usize {
    entries(object.len(), object.iter())
}

fn event(event: &SpanEvent) -> usize {
    size_of::<SpanEvent>() + event.name.len() + attributes(&event.attributes)
}

fn link(link: &SpanLink) -> usize {
    let texts = link.trace_id.len() + link.span_id.len() + link.trace_state.len();
    size_of::<SpanLink>() + texts + attributes(&link.attributes)
}

fn attributes(attributes: &Attributes) -> usize {
    entries(attributes.len(), attributes.iter())
}

fn entries<'a>(count: usize, entries: impl Iterator<Item = (&'a String, &'a Value)>) -> usize {
    let nodes = count.div_ceil(ENTRIES_PER_NODE) * NODE_BYTES;
    nodes + entries.map(|(name, value)| name.len() + heap(value)).sum::<usize>()
}

/// Returns the heap size of a value.
fn heap(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + 16,
        Value::Array(values) => values.len() * size_of::<Value>() + 16 + values.iter().map(heap).sum::<usize>(),
        Value::Object(map) => object(map),
    }
}
