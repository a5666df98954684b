//! Estimated memory of a span or a session event.

use std::borrow::Cow;

use opentelemetry::trace::{Event, Link};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, Value as Json};

/// Entries that fit in one node of the standard library's B-tree.
const NODE_ENTRIES: usize = 11;
/// Size of a node: its entries, a word for its index and a word for its parent.
const NODE_BYTES: usize = NODE_ENTRIES * (size_of::<String>() + size_of::<Json>()) + 2 * size_of::<usize>();

/// Returns the estimated memory of a span in bytes, including its heap data. Attribute names always
/// count, because static names cannot be recognised here; the estimate is high rather than low.
pub(crate) fn byte_size(span: &SpanData) -> usize {
    let events = span.events.events.iter().map(|event| {
        let list = event.attributes.capacity() * size_of::<KeyValue>();
        name(&event.name) + list + attributes(&event.attributes)
    });
    let links = span.links.links.iter().map(|link| {
        let list = link.attributes.capacity() * size_of::<KeyValue>();
        list + attributes(&link.attributes)
    });
    size_of::<SpanData>()
        + name(&span.name)
        + span.attributes.capacity() * size_of::<KeyValue>()
        + attributes(&span.attributes)
        + span.events.events.capacity() * size_of::<Event>()
        + events.sum::<usize>()
        + span.links.links.capacity() * size_of::<Link>()
        + links.sum::<usize>()
}

#[expect(clippy::ptr_arg, reason = "borrowed and owned names differ in size")]
fn name(name: &Cow<'static, str>) -> usize {
    match name {
        Cow::Borrowed(_) => 0,
        Cow::Owned(name) => name.capacity(),
    }
}

fn attributes(attributes: &[KeyValue]) -> usize {
    let sizes = attributes
        .iter()
        .map(|attribute| attribute.key.as_str().len() + value(&attribute.value));
    sizes.sum()
}

fn value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::Bool(values)) => values.len(),
        Value::Array(Array::I64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::F64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::String(values)) => {
            let texts: usize = values.iter().map(|text| text.as_str().len()).sum();
            size_of_val(values.as_slice()) + texts
        }
        _ => 0,
    }
}

/// Returns the heap memory of a value in bytes. Recurses; callers bound the depth of values on
/// entry.
pub(super) fn json(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.capacity(),
        Json::Array(items) => items.capacity() * size_of::<Json>() + items.iter().map(json).sum::<usize>(),
        Json::Object(entries) => table(entries),
    }
}

pub(super) fn table(entries: &Map<String, Json>) -> usize {
    let inside = entries.iter().map(|(key, value)| key.capacity() + json(value));
    // A tree of more than one node has a root and leaves that are two thirds full on average.
    let nodes = match entries.len() {
        0 => 0,
        1..=NODE_ENTRIES => 1,
        more => 1 + more.div_ceil(NODE_ENTRIES * 2 / 3),
    };
    nodes * NODE_BYTES + inside.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use opentelemetry::StringValue;
    use opentelemetry_sdk::trace::SpanEvents;
    use serde_json::json;

    use super::*;
    use crate::export::queue::session_event::SessionEvent;
    use crate::export::test_fixtures;

    fn span(attributes: usize, text: usize, event_count: usize) -> SpanData {
        let attribute = |index: usize| KeyValue::new(format!("an.attribute.{index}"), "x".repeat(text));
        let mut events = SpanEvents::default();
        events.events = (0..event_count)
            .map(|index| Event::new("event", UNIX_EPOCH, vec![attribute(index)], 0))
            .collect();
        SpanData {
            attributes: (0..attributes).map(attribute).collect(),
            events,
            ..test_fixtures::span(format!("a span with {attributes}"))
        }
    }

    #[test]
    fn span_estimate_is_close_to_allocated_memory() {
        for (attributes, text, events) in [(0, 0, 0), (4, 20, 0), (10, 40, 2), (128, 5, 0), (3, 10_000, 5)] {
            let mut kept = None;
            let measured = allocation_counter::measure(|| kept = Some(Box::new(span(attributes, text, events))));
            let estimated = kept.as_deref().map(byte_size).unwrap_or_default();
            let real = usize::try_from(measured.bytes_current).expect("the allocation is live");
            let near = real - real / 10..real + real / 5;
            assert!(
                near.contains(&estimated),
                "{attributes} attributes of {text} bytes: estimated {estimated}, allocated {real}"
            );
        }
    }

    fn enrichment(entries: usize, text: usize) -> SessionEvent {
        let value = |index: usize| match index % 4 {
            0 => json!(index),
            1 => json!({"nested": "x".repeat(text), "flag": true}),
            _ => json!("x".repeat(text)),
        };
        let metadata: Map<String, Json> = (0..entries)
            .map(|index| (format!("key {index}"), value(index)))
            .collect();
        let mut delta = Map::new();
        delta.insert("metadata".to_owned(), Json::Object(metadata));
        delta.insert(
            "list".to_owned(),
            (0..entries).map(|_| json!("x".repeat(text))).collect(),
        );
        SessionEvent::Enrich(delta)
    }

    #[test]
    fn session_event_estimate_is_close_to_allocated_memory() {
        for (entries, text) in [
            (0, 0),
            (1, 10),
            (4, 40),
            (8, 0),
            (12, 20),
            (200, 5),
            (3, 100_000),
            (1000, 100),
        ] {
            let mut kept = None;
            let measured = allocation_counter::measure(|| kept = Some(Box::new(enrichment(entries, text))));
            let estimated = kept.as_deref().map(SessionEvent::byte_size).unwrap_or_default();
            let real = usize::try_from(measured.bytes_current).expect("the allocation is live");
            let near = real - real / 10..real + real / 5;
            assert!(
                near.contains(&estimated),
                "{entries} entries of {text} bytes: estimated {estimated}, allocated {real}"
            );
        }
    }

    #[test]
    fn arrays_count() {
        let texts = vec![StringValue::from("12345"), StringValue::from("123")];
        let list = Value::Array(Array::String(texts));
        assert_eq!(value(&list), 8 + 2 * size_of::<StringValue>());
        assert_eq!(value(&Value::Array(Array::F64(vec![0.0; 4]))), 32);
    }
}
