//! Encoded requests: protobuf, JSON, compression and attributes.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use tracer_registry::config::{BackendName, Compression, Export, Protocol};
use tracer_registry::{Enrichment, TracerHandle};

use crate::support::{LONG, World, binding, quick};

#[test]
fn protobuf_and_json_carry_the_same_data_in_every_compression() {
    let mut compressions = vec![(Compression::Gzip, Some("gzip")), (Compression::None, None)];
    if cfg!(feature = "zstd") {
        compressions.push((Compression::Zstd, Some("zstd")));
    }
    let mut trees = Vec::new();
    for (protocol, content_type) in [
        (Protocol::HttpProtobuf, "application/x-protobuf"),
        (Protocol::HttpJson, "application/json"),
    ] {
        for (compression, content_encoding) in compressions.iter().copied() {
            let export = Export {
                protocol: Some(protocol),
                compression: Some(compression),
                ..quick()
            };
            let nested = json!({"deep": {"list": [1, "two", {"three": true}], "nothing": null}});
            let world = World::with(&["a"], |builder| {
                builder
                    .tenant("a", binding("a").metadata("nested", nested).metadata("plan", "pro"))
                    .export(export)
            });
            let a = world.tenant("a");
            let session = a.session("s").start();
            let _inside = session.enter();
            a.in_span("outer", |span| {
                span.set_attributes([
                    KeyValue::new("gen_ai.operation.name", "chat"),
                    KeyValue::new("n", i64::MAX),
                ]);
                span.set_attributes([KeyValue::new("f", -0.5), KeyValue::new("unicode", "ä\u{0}\u{1F600}")]);
                span.add_event("event", vec![KeyValue::new("k", "v")]);
                span.set_status(Status::error("no"));
                let builder = SpanBuilder::from_name("inner").with_kind(SpanKind::Client);
                drop(a.tracer("lib").build_with_context(builder, span.context()));
            });
            world.flush();
            let request = world
                .collector
                .requests()
                .iter()
                .find(|r| r.path == "/opentelemetry/v1/traces")
                .cloned()
                .expect("sent");
            assert_eq!(request.header("content-type"), Some(content_type));
            assert_eq!(request.header("content-encoding"), content_encoding);
            assert_eq!(request.header("x-source"), Some("test"));
            let outer = world.span("a", "outer");
            let expected = json!({
                "honeyhive.session_id": session.id(),
                "honeyhive.source": "test",
                "honeyhive_event_type": "model",
                "honeyhive_metadata.plan": "pro",
                "honeyhive_metadata.nested.deep.list.0": 1,
                "honeyhive_metadata.nested.deep.list.1": "two",
                "honeyhive_metadata.nested.deep.list.2.three": true,
                "gen_ai.operation.name": "chat",
                "n": i64::MAX,
                "f": -0.5,
                "unicode": "ä\u{0}\u{1F600}",
            });
            assert_eq!(serde_json::to_value(&outer.attributes).expect("JSON"), expected);
            assert_eq!(outer.duplicate_attributes, 0);
            assert_eq!(outer.events[0].attributes["k"], "v");
            let inner = world.span("a", "inner");
            assert_eq!(inner.attributes["honeyhive_event_type"], "tool");
            assert_eq!(inner.scope.name, "lib");
            trees.push(world.project("a").tree());
        }
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
}

#[test]
fn span_attributes_override_binding_metadata_but_not_source_or_session_id() {
    let world = World::with(&["a"], |builder| {
        builder.tenant("a", binding("a").metadata("plan", "pro"))
    });
    let a = world.tenant("a");
    let session = a.session("s").start();
    let _inside = session.enter();
    a.in_span("span", |span| {
        span.set_attribute("honeyhive_metadata.plan", "free");
        span.set_attribute("honeyhive_event_type", "chain");
        span.set_attribute("honeyhive.source", "forged");
        span.set_attribute("honeyhive.session_id", "forged");
    });
    world.flush();
    let span = world.span("a", "span");
    assert_eq!(span.duplicate_attributes, 0);
    assert_eq!(span.attributes["honeyhive_metadata.plan"], "free");
    assert_eq!(span.attributes["honeyhive_event_type"], "chain");
    assert_eq!(span.attributes["honeyhive.source"], "test");
    assert_eq!(span.attributes["honeyhive.session_id"], session.id());
}

#[test]
fn sessions_are_span_attributes_for_a_backend_without_a_session_api() {
    let receiver = World::new(&["a"]);
    let url = receiver.collector.url();
    let otlp = binding("a").backend(BackendName::Otlp).endpoint(&url).source("staging");
    let otlp = otlp
        .metadata("plan", "pro")
        .resource("service.name", "shop")
        .header("x-project", "p1");
    // Exports only on a flush, in one request.
    let export = Export {
        scheduled_delay: Some(Duration::from_secs(3600)),
        ..quick()
    };
    let world = World::with(&[], |builder| builder.tenant("a", otlp).export(export));
    let a = world.tenant("a");
    let session = a.session("s").metadata("variant", json!({"name": "b"})).start();
    session.enrich(Enrichment::new().outputs("done"));
    session.enrich(Enrichment::new());
    {
        let _inside = session.enter();
        a.start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(receiver.names("a"), ["session.enrich", "span"]);
    let span = receiver.span("a", "span");
    assert_eq!(span.attributes["session.id"], session.id());
    assert_eq!(span.attributes["tracer_registry.session.metadata.variant.name"], "b");
    assert_eq!(span.attributes["tracer_registry.session.name"], "s");
    assert_eq!(span.attributes.len(), 3);
    let resource = &span.resource.attributes;
    assert_eq!(resource["deployment.environment.name"], "staging");
    assert_eq!(resource["tracer_registry.metadata.plan"], "pro");
    assert_eq!(resource["tracer_registry.selector"], a.selector().to_string());
    assert_eq!(resource["service.name"], "shop");
    let requests = receiver.collector.requests();
    let [request] = requests.as_slice() else {
        panic!("not exactly one request: {requests:#?}")
    };
    assert_eq!(
        (request.path.as_str(), request.header("x-project")),
        ("/v1/traces", Some("p1"))
    );
    assert_eq!(request.header("x-source"), None);
}

/// Returns the received export bodies as JSON. Protobuf bodies are converted.
fn bodies(protocol: Protocol, record: impl FnOnce(&TracerHandle)) -> Vec<Value> {
    let export = Export {
        protocol: Some(protocol),
        compression: Some(Compression::None),
        ..quick()
    };
    let nested = binding("a").metadata("n", json!({"n": 1})).metadata("n.n", 2);
    let world = World::with(&["a"], |builder| builder.tenant("a", nested).export(export));
    record(&world.tenant("a"));
    world.flush();
    let requests = world.collector.requests();
    let of_spans = requests.iter().filter(|request| request.path.ends_with("/v1/traces"));
    of_spans
        .map(|request| {
            if protocol == Protocol::HttpJson {
                return serde_json::from_slice(&request.body).expect("JSON");
            }
            let message = ExportTraceServiceRequest::decode(&request.body[..]).expect("protobuf");
            serde_json::to_value(message).expect("JSON")
        })
        .collect()
}

/// Collects every attribute list in `document`, with the name of the field that contains it.
fn collect_attribute_lists<'v>(document: &'v Value, name: &str, found: &mut Vec<(String, &'v Vec<Value>)>) {
    match document {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::Array(list) if field == "attributes" => found.push((name.to_owned(), list)),
                    _ => collect_attribute_lists(value, field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_attribute_lists(item, name, found)),
        _ => {}
    }
}

#[test]
fn duplicate_attribute_keys_keep_only_the_last_value_everywhere() {
    for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
        let bodies = bodies(protocol, |a| {
            let duplicates = || vec![KeyValue::new("k", 1), KeyValue::new("other", 0), KeyValue::new("k", 2)];
            let scope = InstrumentationScope::builder("lib")
                .with_attributes(duplicates())
                .build();
            a.in_span("linked", |linked| {
                let builder = SpanBuilder::from_name("span").with_attributes(duplicates());
                let mut span = a.tracer_with_scope(scope).build(builder);
                span.add_event("event", duplicates());
                span.add_link(linked.span_context(), duplicates());
                span.end();
            });
        });
        let mut found = Vec::new();
        for body in &bodies {
            collect_attribute_lists(body, "", &mut found);
        }
        let mut with_key = Vec::new();
        for (name, list) in found {
            let keys: Vec<&str> = list.iter().filter_map(|each| each["key"].as_str()).collect();
            let unique: BTreeSet<&str> = keys.iter().copied().collect();
            assert_eq!(keys.len(), unique.len(), "{protocol:?} {name}: {list:?}");
            if let Some(k) = list.iter().find(|each| each["key"] == "k") {
                assert_eq!(k["value"], json!({ "intValue": "2" }), "{protocol:?} {name}");
                with_key.push(name);
            }
        }
        with_key.sort_unstable();
        assert_eq!(with_key, ["events", "links", "scope", "spans"], "{protocol:?}");
    }
}

#[test]
fn non_finite_attribute_values_are_json_strings() {
    let bodies = bodies(Protocol::HttpJson, |a| {
        a.in_span("span", |span| {
            span.set_attribute("nan", f64::NAN);
            span.set_attribute("more", f64::INFINITY);
            span.set_attribute("less", f64::NEG_INFINITY);
            span.metric("ratio", f64::NAN);
        });
    });
    let text = bodies[0].to_string();
    for (key, value) in [
        ("nan", json!({ "doubleValue": "NaN" })),
        ("more", json!({ "doubleValue": "Infinity" })),
        ("less", json!({ "doubleValue": "-Infinity" })),
        ("honeyhive_metrics.ratio", json!({ "stringValue": "NaN" })),
    ] {
        assert!(
            text.contains(&json!({ "key": key, "value": value }).to_string()),
            "{key}: {text}"
        );
    }
}

#[test]
fn non_finite_session_values_are_json_strings() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let session = a
        .session("s")
        .input("x", f64::NAN)
        .metadata("list", vec![0.5, f64::INFINITY])
        .start();
    world.flush();
    session.enrich(
        Enrichment::new()
            .metric("ratio", f64::NEG_INFINITY)
            .feedback("single", f32::NAN),
    );
    world.flush();
    let sent = |path: &str| -> Value {
        let requests = world.collector.requests();
        let request = requests.iter().find(|request| request.path == path).expect("sent");
        serde_json::from_slice(&request.body).expect("JSON")
    };
    let start = &sent("/session/start")["session"];
    assert_eq!(
        (&start["inputs"]["x"], &start["metadata"]["list"]),
        (&json!("NaN"), &json!([0.5, "Infinity"]))
    );
    let enriched = sent("/events");
    assert_eq!(
        (&enriched["metrics"]["ratio"], &enriched["feedback"]["single"]),
        (&json!("-Infinity"), &json!("NaN"))
    );
}
