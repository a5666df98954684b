//! Against `opentelemetry-otlp`, byte for byte.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::{TraceFlags, TraceId};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::encode::by_exporter;
use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z.]{1,12}",
        "\\PC{0,40}",
        // Around the lengths where the length itself takes a byte more.
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
        1 => any::<f64>().prop_map(Value::F64),
        1 => vec(any::<bool>(), 0..4).prop_map(|list| Value::Array(Array::Bool(list))),
        1 => vec(number, 0..4).prop_map(|list| Value::Array(Array::I64(list))),
        1 => vec(any::<f64>(), 0..4).prop_map(|list| Value::Array(Array::F64(list))),
        1 => vec(text(), 0..4).prop_map(|list| {
            Value::Array(Array::String(list.into_iter().map(StringValue::from).collect()))
        }),
    ]
}

fn attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    vec(
        (text(), value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..=most,
    )
}

/// Also before 1970.
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
        attributes(2),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_bytes_are_those_of_opentelemetry_otlp(
        spans in vec(span(), 0..8),
        resource_attributes in attributes(3),
        url in prop::option::of("[a-z]{1,5}"),
    ) {
        let resource = Resource::builder_empty();
        let resource = match url {
            Some(url) => resource.with_schema_url(resource_attributes, url),
            None => resource.with_attributes(resource_attributes),
        };
        let resource = resource.build();
        let ours = request(&spans.iter().collect::<Vec<_>>(), &resource);
        let reference = by_exporter(spans, &resource, opentelemetry_otlp::Protocol::HttpBinary).expect("it encodes");
        prop_assert!(ours == reference, "{ours:?}\n{reference:?}");
    }
}
