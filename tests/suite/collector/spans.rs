//! Stored spans, received as protobuf or JSON, and their trees.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::Event, span::Link};
use serde_json::{Value, json};
use tracer_registry_collector::{LocalCollector, Project, SpanKind, StatusCode, TreeDetail, tree, tree_with};

use super::client::{attribute, export, post, request, span, text};
use super::collector;

fn rich() -> Span {
    Span {
        trace_id: (1..17).collect(),
        span_id: (17..25).collect(),
        trace_state: "vendor=1".to_owned(),
        parent_span_id: vec![0xfe; 8],
        flags: 0x301,
        name: "rich".to_owned(),
        kind: 3,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_000_005,
        attributes: vec![
            attribute("text", text("grün")),
            attribute("flag", Any::BoolValue(true)),
            attribute("int", Any::IntValue(i64::MIN)),
            attribute("double", Any::DoubleValue(1.5)),
            attribute("nan", Any::DoubleValue(f64::NAN)),
            attribute(
                "list",
                Any::ArrayValue(ArrayValue {
                    values: vec![AnyValue {
                        value: Some(Any::IntValue(1)),
                    }],
                }),
            ),
            attribute(
                "map",
                Any::KvlistValue(KeyValueList {
                    values: vec![attribute("in", text("side"))],
                }),
            ),
            attribute("bytes", Any::BytesValue(vec![0, 255])),
            attribute("text", text("second")),
            attribute("session.id", text("s-1")),
        ],
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 7,
            name: "event".to_owned(),
            attributes: vec![attribute("a", Any::IntValue(1))],
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![Link {
            trace_id: vec![0xaa; 16],
            span_id: vec![0xbb; 8],
            trace_state: "t".to_owned(),
            attributes: vec![attribute("b", Any::IntValue(2))],
            dropped_attributes_count: 4,
            flags: 1,
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "broken".to_owned(),
            code: 2,
        }),
    }
}

fn acme(collector: &LocalCollector) -> Project {
    collector.project("acme").expect("a known project")
}

#[test]
fn every_field_of_a_span_is_stored() {
    let collector = collector();
    assert_eq!(
        export("key-a", vec![rich()])
            .header("X-Source", "production")
            .status(&collector),
        200
    );
    let project = acme(&collector);
    let span = project.span_named("rich").unwrap();
    assert_eq!(span.trace_id, "0102030405060708090a0b0c0d0e0f10");
    assert_eq!(span.span_id, "1112131415161718");
    assert_eq!(span.parent_span_id.as_deref(), Some("fefefefefefefefe"));
    assert_eq!(
        (span.kind, span.flags, span.trace_state.as_str()),
        (SpanKind::Client, 0x301, "vendor=1")
    );
    assert_eq!(
        (span.start_unix_nanos, span.duration_nanos()),
        (1_700_000_000_000_000_001, 4)
    );
    assert_eq!(
        serde_json::to_value(&span.attributes).unwrap(),
        json!({
            "text": "grün", "flag": true, "int": i64::MIN, "double": 1.5, "nan": "NaN", "list": [1],
            "map": { "in": "side" }, "bytes": { "bytesValue": "AP8=" }, "session.id": "s-1",
        })
    );
    assert_eq!(
        (span.duplicate_attributes, project.summary().duplicate_attributes),
        (1, 1)
    );
    assert_eq!(
        (span.dropped_attributes, span.dropped_events, span.dropped_links),
        (1, 3, 5)
    );
    let event = &span.events[0];
    assert_eq!(
        (event.name.as_str(), event.time_unix_nanos, event.dropped_attributes),
        ("event", 7, 2)
    );
    assert_eq!(event.attributes["a"], 1);
    let link = &span.links[0];
    assert_eq!(
        (link.trace_id.as_str(), link.span_id.as_str()),
        (&*"aa".repeat(16), &*"bb".repeat(8))
    );
    assert_eq!(
        (link.flags, link.dropped_attributes, link.trace_state.as_str()),
        (1, 4, "t")
    );
    assert_eq!(
        (span.status.code, span.status.message.as_str()),
        (StatusCode::Error, "broken")
    );
    assert_eq!(span.resource.attributes["service.name"], "shop");
    assert_eq!(
        (span.scope.name.as_str(), span.scope.version.as_str()),
        ("scope", "1.2")
    );
    assert_eq!(span.session_id.as_deref(), Some("s-1"));
    assert_eq!(span.source.as_deref(), Some("production"));
    assert_eq!(span.sequence, 1);
}

#[test]
fn protobuf_and_json_store_equal_spans() {
    let collector = collector();
    // Without NaN, which this JSON encoder writes as null.
    let mut span = rich();
    span.attributes.retain(|attribute| attribute.key != "nan");
    let request = request(vec![span]);
    assert_eq!(
        post("/v1/traces").bearer("key-a").protobuf(&request).status(&collector),
        200
    );
    let json = serde_json::to_value(&request).unwrap();
    assert_eq!(post("/v1/traces").bearer("key-a").json(&json).status(&collector), 200);
    let project = acme(&collector);
    let mut second = (*project.spans()[1]).clone();
    second.sequence = 1;
    assert_eq!(*project.spans()[0], second);
}

#[test]
fn json_variants_of_known_clients_are_accepted() {
    let collector = collector();
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "py" } }], "new": 1 },
        "scopeSpans": [{
            "scope": { "name": "honeyhive", "version": null },
            "spans": [
                {
                    "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": null,
                    "name": "by name", "kind": "SPAN_KIND_SERVER", "startTimeUnixNano": "1544712660000000000",
                    "endTimeUnixNano": 1_544_712_661_000_000_000_u64,
                    "attributes": [
                        { "key": "i", "value": { "intValue": "-3" } },
                        { "key": "j", "value": { "intValue": 4 } },
                        { "key": "d", "value": { "doubleValue": "Infinity" } },
                        { "key": "n", "value": null },
                        { "key": "e", "value": {} },
                        { "key": "a", "value": { "arrayValue": { "values": [{ "stringValue": "x" }, {}] } } },
                        { "key": "m", "value": { "kvlistValue": { "values": null } } },
                    ],
                    "events": null, "links": [], "status": { "code": "STATUS_CODE_ERROR" },
                },
                {
                    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175",
                    "parentSpanId": "", "kind": 5, "status": { "code": 1, "message": null }, "flags": null,
                },
                {
                    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b176",
                    "status": { "code": "STATUS_CODE_UNSET" }, "kind": "SPAN_KIND_INTERNAL", "name": "third",
                },
            ],
        }],
    }] });
    let response = post("/v1/traces").bearer("key-a").json(&body).send(&collector).unwrap();
    assert_eq!((response.status, response.json()), (200, json!({})));
    let project = acme(&collector);
    let [first, second, third] = project.spans() else {
        panic!("{project:?}")
    };
    assert_eq!(
        (first.parent_span_id.as_ref(), second.parent_span_id.as_ref()),
        (None, None)
    );
    assert_eq!(first.trace_id, "5b8efff798038103d269b633813fc60c");
    assert_eq!(
        (first.kind, second.kind, third.kind),
        (SpanKind::Server, SpanKind::Consumer, SpanKind::Internal)
    );
    assert_eq!(first.duration_nanos(), 1_000_000_000);
    assert_eq!(first.status.code, StatusCode::Error);
    assert_eq!(
        (second.status.code, third.status.code),
        (StatusCode::Ok, StatusCode::Unset)
    );
    let expected = json!({ "i": -3, "j": 4, "d": "Infinity", "n": null, "e": null, "a": ["x", null], "m": {} });
    assert_eq!(serde_json::to_value(&first.attributes).unwrap(), expected);
}

#[test]
fn ambiguous_or_out_of_range_json_values_are_bad_requests() {
    let collector = collector();
    let with_span = |span: Value| json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    for (fault, span) in [
        ("hexadecimal", json!({ "traceId": "xyz" })),
        ("hexadecimal", json!({ "spanId": "abc" })),
        (
            "two of stringValue",
            json!({ "attributes": [{ "key": "a", "value": { "stringValue": "", "intValue": 1 } }] }),
        ),
        ("64 bits", json!({ "startTimeUnixNano": -1 })),
        ("32 bits", json!({ "flags": 4_294_967_296_u64 })),
        (
            "base64",
            json!({ "attributes": [{ "key": "a", "value": { "bytesValue": "%" } }] }),
        ),
        ("STATUS_CODE_OK", json!({ "status": { "code": "OK" } })),
    ] {
        let response = post("/v1/traces")
            .bearer("key-a")
            .json(&with_span(span))
            .send(&collector)
            .unwrap();
        assert_eq!(response.status, 400, "{fault}");
        assert!(
            response.json()["message"].as_str().unwrap().contains(fault),
            "{fault}: {}",
            response.json()
        );
    }
}

fn child(name: &str, id: u8, parent: u8) -> Span {
    Span {
        parent_span_id: vec![parent; 8],
        ..span(name, id)
    }
}

#[test]
fn a_tree_does_not_depend_on_the_order_of_arrival() {
    let mut spans = vec![
        span("chat", 1),
        child("answer", 2, 1),
        child("retrieve", 3, 2),
        child("log", 4, 1),
    ];
    for _ in 0..2 {
        let collector = collector();
        assert_eq!(export("key-a", spans.clone()).status(&collector), 200);
        let project = acme(&collector);
        let expected = "chat\n├─ answer\n│  └─ retrieve\n└─ log\n";
        assert_eq!(tree(project.spans()), expected);
        assert_eq!(project.tree(), expected);
        assert_eq!(project.traces()[0].tree(), expected);
        spans.reverse();
    }
}

#[test]
fn a_tree_with_durations_shows_the_session_at_the_root() {
    let collector = collector();
    let mut root = span("chat", 1);
    root.end_time_unix_nano = root.start_time_unix_nano + 12_345_678;
    root.attributes = vec![attribute("honeyhive.session_id", text("s-1"))];
    assert_eq!(
        export("key-a", vec![root, child("answer", 2, 1)]).status(&collector),
        200
    );
    assert_eq!(
        tree_with(acme(&collector).spans(), TreeDetail::Durations),
        "chat                     [12.3 ms] session=s-1\n└─ answer                [1.9 ms]\n"
    );
}

#[test]
fn a_tree_contains_spans_with_missing_or_cyclic_parents() {
    let collector = collector();
    let spans = vec![
        child("orphan", 1, 99),
        child("a", 2, 3),
        child("b", 3, 2),
        child("self", 4, 4),
        span("x\ny", 5),
    ];
    assert_eq!(export("key-a", spans).status(&collector), 200);
    assert_eq!(acme(&collector).tree(), "orphan\nx\\ny\na\n└─ b\nself\n");
}

#[test]
fn a_tree_of_20000_nested_spans_is_drawn() {
    let collector = collector();
    let id = |number: u32| [[1; 4], number.to_be_bytes()].concat();
    let link = |number| Span {
        span_id: id(number),
        parent_span_id: id(number - 1),
        ..span("deep", 1)
    };
    assert_eq!(export("key-a", (1..20_000).map(link).collect()).status(&collector), 200);
    assert_eq!(acme(&collector).tree().lines().count(), 19_999);
}
