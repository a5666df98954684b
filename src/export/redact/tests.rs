#[cfg(feature = "encoded")]
mod walks;

use std::sync::Arc;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, json};

use super::*;
use crate::backend::AttributeNames;
use crate::config::{RedactAction, RedactRule, ResolvedRedact};
use crate::export::SessionEvent;
use crate::export::test_fixtures;
use crate::policy::redaction::Redaction;
use crate::selector::{Selector, SelectorKind, Slug};

const REDACTED: &str = "[redacted]";
const ID: &str = "7f3d3f3c-58a6-4b4c-9b39-5f0d8f6f6a11";

/// The redaction of a tracer that removes whole values of these keys.
fn redaction(rules: &[(&str, RedactAction)]) -> Arc<Redaction> {
    let rule = |(key, action): &(&str, RedactAction)| {
        let rule = RedactRule::new().attribute(*key).action(*action);
        (format!("of_{key}"), rule)
    };
    let rules = ResolvedRedact {
        rules: rules.iter().map(rule).collect(),
        ..ResolvedRedact::default()
    };
    let selector = Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name"));
    Redaction::new(&selector, &rules, Vec::new()).expect("there are rules")
}

fn secret(value: impl Into<Value>) -> KeyValue {
    KeyValue::new("secret", value)
}

fn redacted() -> KeyValue {
    secret(REDACTED)
}

/// A span with attributes in every place.
fn with_attributes(attributes: &[KeyValue]) -> SpanData {
    let context = SpanContext::new(
        TraceId::from(1),
        SpanId::from(2),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let mut span = test_fixtures::span("name");
    span.attributes = attributes.to_vec();
    span.events.events = vec![Event::new("event", span.start_time, attributes.to_vec(), 0)];
    span.links.links = vec![Link::new(context, attributes.to_vec(), 0)];
    span.status = Status::error("message");
    span.instrumentation_scope = InstrumentationScope::builder("lib")
        .with_version("1")
        .with_schema_url("https://schema")
        .with_attributes(attributes.to_vec())
        .build();
    span
}

fn places(span: &SpanData) -> [Vec<KeyValue>; 4] {
    [
        span.attributes.clone(),
        span.events.events[0].attributes.clone(),
        span.links.links[0].attributes.clone(),
        span.instrumentation_scope.attributes().cloned().collect(),
    ]
}

#[test]
fn a_value_of_any_type_is_redacted_in_every_place() {
    let redaction = redaction(&[("secret", RedactAction::Replace)]);
    let texts = Value::Array(Array::String(vec!["a".into(), "b".into()]));
    for value in [
        Value::from("text"),
        7.into(),
        0.5.into(),
        true.into(),
        texts,
        Value::Array(Array::I64(vec![1, 2])),
    ] {
        let other = KeyValue::new("other", value.clone());
        let mut redacted_span = with_attributes(&[other.clone(), secret(value)]);
        span(&redaction, &AttributeNames::HONEYHIVE, &mut redacted_span);
        for place in places(&redacted_span) {
            assert_eq!(place, [other.clone(), redacted()]);
        }
        let scope = &redacted_span.instrumentation_scope;
        let unchanged = (scope.name(), scope.version(), scope.schema_url());
        assert_eq!(unchanged, ("lib", Some("1"), Some("https://schema")));
    }
}

#[test]
fn a_span_without_secrets_stays_as_it_is() {
    let redaction = redaction(&[("secret", RedactAction::Replace)]);
    let before = with_attributes(&[
        KeyValue::new("text", "x"),
        KeyValue::new("numbers", Value::Array(Array::F64(vec![0.5, f64::MAX]))),
        KeyValue::new("texts", Value::Array(Array::String(vec![StringValue::from("y")]))),
    ]);
    let mut after = before.clone();
    span(&redaction, &AttributeNames::HONEYHIVE, &mut after);
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

#[test]
fn a_dropped_array_is_removed_and_does_not_count_as_dropped_by_a_limit() {
    let redaction = redaction(&[("secret", RedactAction::Drop)]);
    let mut dropped = with_attributes(&[secret(Value::Array(Array::Bool(vec![true])))]);
    span(&redaction, &AttributeNames::HONEYHIVE, &mut dropped);
    assert_eq!(places(&dropped), [const { Vec::<KeyValue>::new() }; 4]);
    assert_eq!(dropped.dropped_attributes_count, 0);
}

#[test]
fn an_element_of_an_array_is_redacted_by_its_path() {
    let redaction = redaction(&[
        ("secret.1", RedactAction::Replace),
        ("secret.2", RedactAction::Drop),
        ("only.*", RedactAction::Drop),
        ("first.0", RedactAction::Drop),
    ]);
    let texts = |texts: &[&'static str]| {
        Value::Array(
            texts
                .iter()
                .map(|text| StringValue::from(*text))
                .collect::<Vec<_>>()
                .into(),
        )
    };
    let mut redacted = with_attributes(&[
        secret(texts(&["a", "b", "c", "d"])),
        KeyValue::new("secret", Value::Array(vec![1, 2, 3, 4].into())),
        KeyValue::new("only", Value::Array(vec![true, false].into())),
        KeyValue::new("first", Value::Array(vec![0.5, 1.5].into())),
    ]);
    span(&redaction, &AttributeNames::HONEYHIVE, &mut redacted);
    let [attributes, ..] = places(&redacted);
    let expected = [
        secret(texts(&["a", REDACTED, "d"])),
        secret(texts(&["1", REDACTED, "4"])),
        KeyValue::new("only", Value::Array(Vec::<bool>::new().into())),
        KeyValue::new("first", Value::Array(vec![1.5].into())),
    ];
    assert_eq!(attributes, expected);
}

#[test]
fn the_id_and_the_mark_of_a_session_stay() {
    let names = &AttributeNames::HONEYHIVE;
    let (id, mark) = (names.session_id, names.session_auto_create.expect("HoneyHive has one"));
    let redaction = redaction(&[(id, RedactAction::Replace), (mark, RedactAction::Replace)]);
    let (id, mark) = (KeyValue::new(id, ID), KeyValue::new(mark, true));
    let mut of_session = with_attributes(&[id.clone(), mark.clone()]);
    span(&redaction, names, &mut of_session);
    let [attributes, ..] = places(&of_session);
    assert_eq!(attributes, [id.clone(), mark.clone()]);
    let mut claimed = with_attributes(&[
        KeyValue::new(id.key.clone(), "no id"),
        KeyValue::new(mark.key.clone(), "text"),
    ]);
    span(&redaction, names, &mut claimed);
    let [attributes, ..] = places(&claimed);
    assert_eq!(
        attributes,
        [KeyValue::new(id.key, REDACTED), KeyValue::new(mark.key, REDACTED)]
    );
}

#[test]
fn session_data_is_redacted_by_path_and_by_name() {
    let redaction = redaction(&[
        ("metadata.plan", RedactAction::Replace),
        ("secret", RedactAction::Replace),
        ("event_id", RedactAction::Replace),
        ("source", RedactAction::Replace),
        ("outputs.list", RedactAction::Drop),
    ]);
    let data = json!({
        "plan": "pro",
        "nested": {"secret": {"of": ["any", "type"]}, "plan": "stays"},
        "list": [{"secret": 7}, 8, null],
    });
    let expected = json!({
        "plan": "pro",
        "nested": {"secret": REDACTED, "plan": "stays"},
        "list": [{"secret": REDACTED}, 8, null],
    });
    let mut metadata = expected.clone();
    metadata["plan"] = REDACTED.into();
    let mut outputs = expected.clone();
    outputs.as_object_mut().expect("an object").remove("list");

    let fields = json!({"event_id": ID, "source": "test", "inputs": data, "metadata": data, "outputs": data});
    let expected = json!({
        "event_id": ID, "source": "test", "inputs": expected, "metadata": metadata, "outputs": outputs,
    });
    let mut started = SessionEvent::Start(json!({ "session": fields }));
    event(&redaction, Some("test"), &mut started);
    let SessionEvent::Start(body) = started else {
        unreachable!("it stays a start")
    };
    assert_eq!(body, json!({ "session": expected }));

    let serde_json::Value::Object(fields) = fields else {
        unreachable!("an object")
    };
    let mut enriched = SessionEvent::Enrich(fields.clone());
    event(&redaction, Some("test"), &mut enriched);
    let SessionEvent::Enrich(delta) = enriched else {
        unreachable!("it stays an enrichment")
    };
    assert_eq!(serde_json::Value::Object(delta), expected);

    let mut claimed = SessionEvent::Enrich(Map::from_iter([
        ("event_id".to_owned(), "no id".into()),
        ("source".to_owned(), "another".into()),
    ]));
    event(&redaction, Some("test"), &mut claimed);
    let expected = json!({"event_id": REDACTED, "source": REDACTED});
    assert!(matches!(claimed, SessionEvent::Enrich(delta) if json!(delta) == expected));
}

#[test]
fn data_that_is_nested_too_deep_is_dropped() {
    let redaction = redaction(&[("secret", RedactAction::Replace)]);
    let nested = |levels: usize| (0..levels).fold(json!("text"), |inner, _| json!([inner]));
    for (levels, stays) in [(65, true), (66, false)] {
        let data = Map::from_iter([("metadata".to_owned(), nested(levels))]);
        let mut nested_event = SessionEvent::Enrich(data);
        event(&redaction, None, &mut nested_event);
        let SessionEvent::Enrich(delta) = nested_event else {
            unreachable!("it stays an enrichment")
        };
        assert_eq!(json!(delta).to_string().contains("text"), stays, "{levels} levels");
    }
}
