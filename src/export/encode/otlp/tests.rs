//! Comparison with `opentelemetry-otlp`: protobuf byte for byte, JSON as a document.

mod reference;

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::{TraceFlags, TraceId};
use opentelemetry_otlp::Protocol;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::export::test_fixtures;
use reference::reference_body;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z.]{1,12}",
        "\\PC{0,40}",
        // Around the lengths where the length prefix needs another byte.
        (120..136_usize).prop_map(|length| "x".repeat(length)),
        (16_380..16_390_usize).prop_map(|length| "y".repeat(length)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![Just(0), Just(i64::MIN), Just(-1), any::<i64>()];
    prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => number.clone().prop_map(Value::I64),
        1 => double().prop_map(Value::F64),
        1 => vec(any::<bool>(), 0..4).prop_map(|list| Value::Array(Array::Bool(list))),
        1 => vec(number, 0..4).prop_map(|list| Value::Array(Array::I64(list))),
        1 => vec(double(), 0..4).prop_map(|list| Value::Array(Array::F64(list))),
        1 => vec(text(), 0..4).prop_map(|list| {
            Value::Array(Array::String(list.into_iter().map(StringValue::from).collect()))
        }),
    ]
}

/// Doubles that JSON can represent; the reference writes null for others.
fn double() -> impl Strategy<Value = f64> {
    proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO
}

/// Attributes of a scope; unique, because the reference keeps duplicate keys.
fn unique_attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    attributes(most).prop_map(|mut attributes| {
        attributes.sort_by(|one, other| one.key.cmp(&other.key));
        attributes.dedup_by(|one, other| one.key == other.key);
        attributes
    })
}

fn attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    vec(
        (text(), value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..=most,
    )
}

/// Times, including one before 1970.
fn time() -> impl Strategy<Value = SystemTime> {
    prop_oneof![
        Just(UNIX_EPOCH),
        Just(UNIX_EPOCH - Duration::from_secs(1)),
        (0..4_000_000_000_u64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos)),
    ]
}

fn span_context() -> impl Strategy<Value = SpanContext> {
    let state = vec(("[a-z]{1,8}", "[a-z0-9]{1,8}"), 0..3).prop_map(|entries| {
        if entries.is_empty() {
            TraceState::NONE
        } else {
            TraceState::from_key_value(entries).unwrap_or_default()
        }
    });
    (any::<u128>(), any::<u64>(), any::<u8>(), any::<bool>(), state).prop_map(
        |(trace, span, flags, is_remote, state)| {
            let flags = TraceFlags::new(flags);
            SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, is_remote, state)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    (text(), time(), attributes(2), any::<u32>())
        .prop_map(|(name, at, attributes, dropped)| Event::new(name, at, attributes, dropped))
}

fn link() -> impl Strategy<Value = Link> {
    (span_context(), attributes(2), 0..3_u32)
        .prop_map(|(context, attributes, dropped)| Link::new(context, attributes, dropped))
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Unset), Just(Status::Ok), text().prop_map(Status::error)]
}

fn scope() -> impl Strategy<Value = InstrumentationScope> {
    let named = (
        "[ab]?",
        prop::option::of("[12]"),
        prop::option::of("[u]"),
        unique_attributes(2),
    )
        .prop_map(|(name, version, url, attributes)| {
            let mut scope = InstrumentationScope::builder(name).with_attributes(attributes);
            if let Some(version) = version {
                scope = scope.with_version(version);
            }
            if let Some(url) = url {
                scope = scope.with_schema_url(url);
            }
            scope.build()
        });
    prop_oneof![Just(InstrumentationScope::builder("usual").build()), named]
}

fn kinds() -> impl Strategy<Value = SpanKind> {
    prop::sample::select(vec![
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ])
}

prop_compose! {
    fn span()(
        (span_context, parent, parent_span_is_remote) in (span_context(), prop_oneof![Just(0), any::<u64>()], any::<bool>()),
        (span_kind, name, status, instrumentation_scope) in (kinds(), text(), status(), scope()),
        (start_time, end_time) in (time(), time()),
        (attributes, dropped_attributes_count) in (attributes(6), 0..3_u32),
        (event_list, dropped_events) in (vec(event(), 0..3), 0..3_u32),
        (link_list, dropped_links) in (vec(link(), 0..3), 0..3_u32),
    ) -> SpanData {
        let mut events = SpanEvents::default();
        (events.events, events.dropped_count) = (event_list, dropped_events);
        let mut links = SpanLinks::default();
        (links.links, links.dropped_count) = (link_list, dropped_links);
        SpanData {
            span_context,
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote,
            span_kind,
            name: Cow::Owned(name),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count,
            events,
            links,
            status,
            instrumentation_scope,
        }
    }
}

fn resource() -> impl Strategy<Value = Resource> {
    (attributes(3), prop::option::of("[a-z]{1,5}")).prop_map(|(attributes, url)| {
        let resource = Resource::builder_empty();
        match url {
            Some(url) => resource.with_schema_url(attributes, url),
            None => resource.with_attributes(attributes),
        }
        .build()
    })
}

fn document(body: &[u8]) -> Json {
    serde_json::from_slice(body).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn protobuf_equals_that_of_opentelemetry_otlp(spans in vec(span(), 0..8), resource in resource()) {
        let ours = request(&spans.iter().collect::<Vec<_>>(), &resource);
        let reference = reference_body(spans, &resource, Protocol::HttpBinary);
        prop_assert!(ours == reference, "{ours:?}\n{reference:?}");
    }

    #[test]
    fn json_equals_that_of_opentelemetry_otlp(spans in vec(span(), 0..8), resource in resource()) {
        let ours = json::request(&spans.iter().collect::<Vec<_>>(), &resource).expect("it encodes");
        let mut reference = document(&reference_body(spans, &resource, Protocol::HttpJson));
        // The only field that the reference writes and this encoder does not: in development,
        // always empty.
        let resource = reference["resourceSpans"][0]["resource"].as_object_mut().expect("an object");
        prop_assert_eq!(resource.remove("entityRefs"), Some(json!([])));
        prop_assert_eq!(document(&ours), reference);
    }
}

#[test]
fn doubles_that_json_lacks_are_strings() {
    let doubles = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
    let mut span = test_fixtures::span("span");
    span.attributes = doubles.map(|double| KeyValue::new("one", double)).into();
    span.attributes
        .push(KeyValue::new("all", Value::Array(Array::F64(doubles.into()))));
    let written = document(&json::request(&[&span], &Resource::builder_empty().build()).expect("it encodes"));
    let attributes = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"];
    let texts = [json!("NaN"), json!("Infinity"), json!("-Infinity"), json!(0.5)]
        .map(|double| json!({ "doubleValue": double }));
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(attributes[index]["value"], *text);
    }
    assert_eq!(attributes[4]["value"], json!({ "arrayValue": { "values": texts } }));
}

#[test]
fn duplicate_scope_keys_keep_the_last_value_in_both_encodings() {
    let mut span = test_fixtures::span("span");
    span.instrumentation_scope = InstrumentationScope::builder("lib")
        .with_attributes([KeyValue::new("k", 1), KeyValue::new("other", 0), KeyValue::new("k", 2)])
        .build();
    let resource = Resource::builder_empty().build();
    let body = request(&[&span], &resource);
    let read = <ExportTraceServiceRequest as prost::Message>::decode(body).expect("protobuf");
    let scope = read.resource_spans[0].scope_spans[0].scope.clone().expect("a scope");
    let in_protobuf: Vec<_> = scope
        .attributes
        .into_iter()
        .map(|each| (each.key, each.value.and_then(|value| value.value)))
        .collect();
    let int = |value| Some(any_value::Value::IntValue(value));
    assert_eq!(in_protobuf, [("other".to_owned(), int(0)), ("k".to_owned(), int(2))]);
    let written = document(&json::request(&[&span], &resource).expect("it encodes"));
    assert_eq!(
        written["resourceSpans"][0]["scopeSpans"][0]["scope"]["attributes"],
        json!([{ "key": "other", "value": { "intValue": "0" } }, { "key": "k", "value": { "intValue": "2" } }])
    );
}
