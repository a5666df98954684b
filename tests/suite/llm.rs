//! LLM data on spans: named as the backend expects, within limits, on the span it was recorded on.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use opentelemetry::KeyValue;
use serde_json::{Map, Value, json};
use tracer_registry::config::{BackendName, Binding, Limits};
use tracer_registry::{ActiveSpan, EventType};
use tracer_registry_collector::{Attributes, Span, StatusCode};

use crate::support::{World, binding};

/// A tenant and the project that receives its spans.
struct Fixture {
    world: World,
    /// World with the collector that tenant `a` sends to, if it is not that of `world`.
    receiver: Option<World>,
}

impl Fixture {
    fn honeyhive(adapt: impl FnOnce(Binding) -> Binding) -> Self {
        let world = World::with(&["a"], |builder| builder.tenant("a", adapt(binding("a"))));
        Self { world, receiver: None }
    }

    fn otlp(adapt: impl FnOnce(Binding) -> Binding) -> Self {
        let receiver = World::new(&["a"]);
        let plain = binding("a")
            .backend(BackendName::Otlp)
            .endpoint(receiver.collector.url());
        let world = World::with(&[], |builder| builder.tenant("a", adapt(plain)));
        Self {
            world,
            receiver: Some(receiver),
        }
    }

    /// Runs `record` in a span and returns the span that the collector received.
    fn span(&self, name: &'static str, record: impl FnOnce(&ActiveSpan)) -> Arc<Span> {
        self.world.tenant("a").in_span(name, |span| record(&span));
        self.world.flush();
        let span = self.receiver.as_ref().unwrap_or(&self.world).span("a", name);
        assert_eq!(span.duplicate_attributes, 0, "{span:#?}");
        span
    }
}

fn as_is(binding: Binding) -> Binding {
    binding
}

fn at_most(attributes: u32) -> impl FnOnce(Binding) -> Binding {
    move |binding| {
        let attributes = Some(attributes);
        binding.limits(Limits {
            attributes,
            ..Limits::default()
        })
    }
}

/// Returns the attributes as JSON, without `honeyhive.source`, which every HoneyHive span has.
fn as_json(attributes: &Attributes) -> Value {
    let own = attributes.iter().filter(|(key, _)| *key != "honeyhive.source");
    Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| Value::Array(vec![inner]))
}

/// Records one value of each kind.
fn record_all_kinds(span: &ActiveSpan) {
    span.event_type(EventType::Model);
    span.input("messages", json!([{"role": "user", "content": "why?"}]));
    span.inputs(json!({"documents": ["d1", "d2"]}));
    span.output("messages", json!([{"role": "assistant", "content": "so"}]));
    span.outputs("so");
    span.metadata("variant", json!({"name": "b", "none": null}));
    span.metric("input_tokens", 7);
    span.metric("seconds", 0.5);
    span.feedback("rating", 5);
    span.config("model", "m1");
    span.config("temperature", 0);
    span.config("prompt", "terse");
}

#[test]
fn honeyhive_spans_have_llm_data_under_honeyhives_names() {
    let span = Fixture::honeyhive(as_is).span("call", record_all_kinds);
    assert_eq!(
        as_json(&span.attributes),
        json!({
            "honeyhive_event_type": "model",
            "honeyhive_inputs.messages.0.role": "user",
            "honeyhive_inputs.messages.0.content": "why?",
            "honeyhive_inputs.documents.0": "d1",
            "honeyhive_inputs.documents.1": "d2",
            "honeyhive_outputs.messages.0.role": "assistant",
            "honeyhive_outputs.messages.0.content": "so",
            "honeyhive_outputs.result": "so",
            "honeyhive_metadata.variant.name": "b",
            "honeyhive_metrics.input_tokens": 7,
            "honeyhive_metrics.seconds": 0.5,
            "honeyhive_feedback.rating": 5,
            "honeyhive_config.model": "m1",
            "honeyhive_config.temperature": 0,
            "honeyhive_config.prompt": "terse",
        })
    );
}

#[test]
fn otlp_spans_have_llm_data_under_the_semantic_conventions_names() {
    let span = Fixture::otlp(as_is).span("call", record_all_kinds);
    assert_eq!(
        as_json(&span.attributes),
        json!({
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": r#"[{"content":"why?","role":"user"}]"#,
            "tracer_registry.inputs.documents.0": "d1",
            "tracer_registry.inputs.documents.1": "d2",
            "gen_ai.output.messages": r#"[{"content":"so","role":"assistant"}]"#,
            "tracer_registry.outputs.result": "so",
            "tracer_registry.metadata.variant.name": "b",
            "gen_ai.usage.input_tokens": 7,
            "tracer_registry.metrics.seconds": 0.5,
            "tracer_registry.feedback.rating": 5,
            "gen_ai.request.model": "m1",
            "gen_ai.request.temperature": 0.0,
            "tracer_registry.config.prompt": "terse",
        })
    );
}

#[test]
fn inputs_and_outputs_that_are_no_object_get_a_default_name_and_null_is_skipped() {
    let fixture = Fixture::honeyhive(as_is);
    let span = fixture.span("lists", |span| {
        span.inputs(json!(["x", 1]));
        span.outputs(true);
        span.metadata("none", Value::Null);
        span.output("empty", json!({}));
    });
    assert_eq!(
        as_json(&span.attributes),
        json!({
            "honeyhive_event_type": "tool",
            "honeyhive_inputs.input.0": "x",
            "honeyhive_inputs.input.1": 1,
            "honeyhive_outputs.result": true,
        })
    );
    let span = fixture.span("nulls", |span| {
        span.inputs(Value::Null);
        span.outputs(Value::Null);
    });
    assert_eq!(as_json(&span.attributes), json!({"honeyhive_event_type": "tool"}));
}

#[test]
fn the_last_value_set_for_a_key_wins() {
    let span = Fixture::otlp(as_is).span("twice", |span| {
        span.event_type(EventType::Model);
        span.set_attribute("plain", 1);
        span.outputs(json!({"kept": 1, "replaced": 1}));
        span.output("replaced", 2);
        span.set_attribute("plain", 2);
        span.event_type(EventType::Chain);
    });
    assert_eq!(
        as_json(&span.attributes),
        json!({
            "gen_ai.operation.name": "invoke_workflow",
            "plain": 2,
            "tracer_registry.outputs.kept": 1,
            "tracer_registry.outputs.replaced": 2,
        })
    );
}

#[test]
fn the_event_type_defaults_to_that_of_the_instrumentation() {
    let fixture = Fixture::honeyhive(as_is);
    for (name, attributes, explicit, expected) in [
        ("chat", vec![("gen_ai.operation.name", "chat")], None, "model"),
        ("agent", vec![("openinference.span.kind", "AGENT")], None, "chain"),
        (
            "unknown operation",
            vec![("gen_ai.operation.name", "plan"), ("openinference.span.kind", "LLM")],
            None,
            "model",
        ),
        ("app.models.load_user", vec![], None, "tool"),
        (
            "explicit event type wins",
            vec![("gen_ai.operation.name", "chat")],
            Some(EventType::Chain),
            "chain",
        ),
    ] {
        let span = fixture.span(name, |span| {
            if let Some(event_type) = explicit {
                span.event_type(event_type);
            }
            span.set_attributes(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)));
        });
        assert_eq!(span.attributes["honeyhive_event_type"], expected, "{name}");
    }
    let span = Fixture::otlp(as_is).span("no event type", |_| ());
    assert_eq!(
        as_json(&span.attributes),
        json!({}),
        "other backends have no event type"
    );
}

#[test]
fn the_count_of_cut_values_is_present_even_past_the_attribute_limit() {
    for (fixture, others) in [(Fixture::honeyhive(at_most(3)), 2), (Fixture::otlp(at_most(3)), 0)] {
        let span = fixture.span("full", |span| {
            span.set_attributes((0..10).map(|n| KeyValue::new(format!("k{n}"), n)));
            span.outputs(json!({"list": (0..130).collect::<Vec<_>>()}));
            span.metadata("deep", nested(20));
            span.metadata("long", "x".repeat(40_000));
        });
        assert_eq!(span.attributes["tracer_registry.cut_values"], 2 + 1 + 1);
        assert_eq!(span.attributes["k2"], 2);
        assert_eq!(span.attributes.len(), 3 + 1 + others, "{span:#?}");
        assert_eq!(span.dropped_attributes, 7 + 128 + 1);
    }
}

#[test]
fn cut_values_of_a_session_are_counted_apart_from_those_of_the_span() {
    let fixture = Fixture::otlp(at_most(200));
    let a = fixture.world.tenant("a");
    let builder = (0..130).fold(a.session("s"), |session, n| session.metadata(format!("n{n}"), n));
    let session = builder.start();
    let _inside = session.enter();
    let span = fixture.span("inside", |span| span.metadata("deep", nested(20)));
    assert_eq!(span.attributes["session.id"], session.id());
    assert_eq!(span.attributes["tracer_registry.session.cut_values"], 2);
    assert_eq!(span.attributes["tracer_registry.cut_values"], 1);
    let explicit = span
        .attributes
        .keys()
        .filter(|key| key.starts_with("tracer_registry.session.metadata."));
    assert_eq!(explicit.count(), 128);
    assert_eq!(span.dropped_attributes, 0);
}

#[test]
fn a_value_nested_ten_thousand_deep_is_cut_on_a_small_stack() {
    let fixture = Fixture::honeyhive(as_is);
    let small_stack = |work: Box<dyn FnOnce() + Send>| {
        let thread = thread::Builder::new().stack_size(256 << 10);
        thread.spawn(work).expect("a thread").join().expect("no overflow");
    };
    let a = fixture.world.tenant("a");
    small_stack(Box::new(move || {
        a.in_span("deep", |span| {
            span.outputs(nested(10_000));
            span.input("in", nested(10_000));
            let table = (0..10_000).fold(json!("x"), |inner, _| {
                Value::Object(Map::from_iter([("k".to_owned(), inner)]))
            });
            span.inputs(table);
        });
    }));
    fixture.world.flush();
    let span = fixture.world.span("a", "deep");
    assert_eq!(span.attributes["tracer_registry.cut_values"], 3);
}

#[test]
fn data_recorded_on_an_ended_or_unsampled_span_is_ignored() {
    let fixture = Fixture::honeyhive(as_is);
    let mut ended_span = None;
    fixture.span("ended", |span| ended_span = Some(span.clone()));
    let span = ended_span.expect("it ran");
    record_all_kinds(&span);
    span.metadata("deep", nested(20));
    span.record_error(&fmt::Error);
    let next = fixture.span("next", |_| ());
    assert_eq!(as_json(&next.attributes), json!({"honeyhive_event_type": "tool"}));
    let ended = fixture.world.span("a", "ended");
    assert_eq!(as_json(&ended.attributes), json!({"honeyhive_event_type": "tool"}));
    assert_eq!(fixture.world.names("a"), ["ended", "next"]);

    let none = Fixture::honeyhive(|binding| binding.sampling_ratio(0.0));
    none.world.tenant("a").in_span("unsampled", |span| {
        record_all_kinds(&span);
        span.metadata("deep", nested(20));
    });
    none.world.flush();
    assert!(none.world.names("a").is_empty());
}

#[test]
fn attributes_can_come_from_an_iterator_that_uses_the_span() {
    let world = World::new(&["a"]);
    world.tenant("a").in_span("span", |span| {
        span.set_attributes((0..2).map(|index| {
            span.metadata("seen", index);
            opentelemetry::KeyValue::new(format!("k{index}"), true)
        }));
        span.metadata("large", u64::MAX);
    });
    world.flush();
    let span = world.span("a", "span");
    assert_eq!(span.attributes["k1"], true);
    assert_eq!(span.attributes["honeyhive_metadata.seen"], 1);
    assert_eq!(span.attributes["honeyhive_metadata.large"], u64::MAX.to_string());
}

#[test]
fn data_recorded_on_one_tenants_span_lands_on_it_while_anothers_is_current() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    a.in_span("a-span", |span| {
        b.in_span("b-span", |_| {
            record_all_kinds(&span);
            span.metadata("deep", nested(20));
            span.record_error(&fmt::Error);
            thread::scope(|threads| threads.spawn(|| span.feedback("from", "a thread")).join().is_ok())
        })
    });
    world.flush();
    let on_a = world.span("a", "a-span");
    assert_eq!(on_a.attributes["honeyhive_config.model"], "m1");
    assert_eq!(on_a.attributes["honeyhive_feedback.from"], "a thread");
    assert_eq!(on_a.attributes["tracer_registry.cut_values"], 1);
    assert_eq!(on_a.status.code, StatusCode::Error);
    let on_b = world.span("b", "b-span");
    assert_eq!(as_json(&on_b.attributes), json!({"honeyhive_event_type": "tool"}));
    assert_eq!((on_b.events.len(), on_b.status.code), (0, StatusCode::Unset));
}

#[test]
fn an_error_has_its_message_and_type_where_the_backend_reads_them() {
    let error = io::Error::other("the disk is full");
    let error_type = "std::io::error::Error";
    let span = Fixture::honeyhive(as_is).span("failed", |span| span.record_error(&error));
    assert_eq!(
        as_json(&span.attributes),
        json!({
            "honeyhive_event_type": "tool",
            "error.type": error_type,
            "honeyhive_error": "the disk is full",
            "honeyhive_error_type": error_type,
        })
    );
    let fixture = Fixture::otlp(as_is);
    let span = fixture.span("failed", |span| span.record_error(&&error));
    assert_eq!(as_json(&span.attributes), json!({"error.type": error_type}));
    assert_eq!(span.status.code, StatusCode::Error);
    assert_eq!(span.status.message, "the disk is full");
    let [event] = span.events.as_slice() else {
        panic!("{span:#?}")
    };
    assert_eq!(event.name, "exception");
    assert_eq!(
        as_json(&event.attributes),
        json!({"exception.message": "the disk is full", "exception.type": error_type})
    );
}

#[test]
fn an_error_without_a_known_type_has_the_type_other() {
    let fixture = Fixture::otlp(as_is);
    let error: Box<dyn Error + Send + Sync> = "x".repeat(40_000).into();
    let span = fixture.span("failed", |span| span.record_error(&*error));
    assert_eq!(
        as_json(&span.attributes),
        json!({"error.type": "_OTHER", "tracer_registry.cut_values": 1})
    );
    let event = as_json(&span.events[0].attributes);
    assert_eq!(event, json!({"exception.message": "x".repeat(32 << 10)}));
    let error: &dyn Error = &fmt::Error;
    let span = fixture.span("failed too", |span| span.record_error(error));
    assert_eq!(as_json(&span.attributes), json!({"error.type": "_OTHER"}));
}
