//! Exports over HTTP: accepted and refused requests, and their responses.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use serde_json::json;
use tracer_registry_collector::LocalCollector;

use super::client::{Call, call, export, get, post, request, span};
use super::{collector, span_names};

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[test]
fn the_key_alone_chooses_the_project() {
    let collector = collector();
    assert_eq!(export("key-a", vec![span("one", 1)]).status(&collector), 200);
    assert_eq!(
        export("key-b", vec![span("two", 2)])
            .header("X-Project", "acme")
            .status(&collector),
        200
    );
    assert_eq!(export("key-c", vec![span("three", 3)]).status(&collector), 200);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
    assert_eq!(span_names(&collector, "bolt"), ["two"]);
    let third = collector.project_of_key("key-c").unwrap();
    assert_eq!((third.name(), third.spans().len()), (None, 1));
    assert_eq!(third.fingerprint(), collector.fingerprint("key-c"));
    assert_eq!(third.spans()[0].key, collector.fingerprint("key-c"));
}

#[test]
fn the_key_is_read_from_every_supported_header() {
    for (name, value) in [
        ("Authorization", "Bearer key-a"),
        ("Authorization", "bearer key-a"),
        ("Authorization", "Basic a2V5LWE="),
        ("Authorization", "key-a"),
        ("x-api-key", "key-a"),
        ("x-honeycomb-team", "key-a"),
        ("api_key", "key-a"),
        ("api-key", "key-a"),
    ] {
        let collector = collector();
        let call = post("/v1/traces")
            .header(name, value)
            .protobuf(&request(vec![span("one", 1)]));
        assert_eq!(call.status(&collector), 200, "{name}: {value}");
        assert_eq!(span_names(&collector, "acme"), ["one"], "{name}: {value}");
    }
}

#[test]
fn a_request_without_a_key_is_refused_in_the_format_of_the_request() {
    let collector = collector();
    let plain = post("/v1/traces").protobuf(&request(vec![span("one", 1)]));
    for call in [
        plain.clone(),
        plain.clone().header("Authorization", "Bearer "),
        plain.bearer("None"),
    ] {
        let response = call.send(&collector).unwrap();
        assert_eq!(response.status, 401);
        assert_eq!(response.protobuf::<RpcStatus>().code, 16);
    }
    let response = post("/v1/traces").json(&json!({})).send(&collector).unwrap();
    assert_eq!((response.status, response.json()["code"].as_i64()), (401, Some(16)));
    assert_eq!(collector.requests_without_key(), 4);
    assert!(span_names(&collector, "acme").is_empty());
}

#[test]
fn every_path_that_ends_in_v1_traces_accepts_spans() {
    let collector = collector();
    let paths = [
        "/v1/traces",
        "/opentelemetry/v1/traces",
        "/api/public/otel/v1/traces",
        "/insert/opentelemetry/v1/traces",
    ];
    for (number, path) in (1..).zip(paths) {
        let call = post(path).bearer("key-a").protobuf(&request(vec![span(path, number)]));
        assert_eq!(call.status(&collector), 200, "{path}");
    }
    assert_eq!(span_names(&collector, "acme"), paths);
}

#[test]
fn plain_compressed_and_chunked_bodies_are_accepted() {
    let plain = post("/v1/traces")
        .bearer("key-a")
        .protobuf(&request(vec![span("one", 1)]));
    let calls: [(&str, Call); 7] = [
        ("plain", plain.clone()),
        ("identity", plain.clone().header("Content-Encoding", "identity")),
        ("gzip", plain.clone().gzip()),
        ("x-gzip", plain.clone().gzip_as("X-GZIP")),
        ("deflate", plain.clone().deflate()),
        ("chunked", plain.clone().chunked()),
        ("chunked gzip", plain.clone().gzip().chunked()),
    ];
    for (case, call) in calls {
        let collector = collector();
        assert_eq!(call.status(&collector), 200, "{case}");
        assert_eq!(span_names(&collector, "acme"), ["one"], "{case}");
    }
}

#[test]
fn content_types_match_case_insensitively_and_ignore_parameters() {
    let body = serde_json::to_vec(&request(vec![span("one", 1)])).unwrap();
    for (content_type, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/json;charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("application/x-protobuf", 400),
        ("application/protobuf", 400),
    ] {
        let call = post("/v1/traces").bearer("key-a").body(content_type, body.clone());
        assert_eq!(call.status(&collector()), status, "{content_type}");
    }
}

#[test]
fn unsupported_encodings_and_a_missing_content_type_get_415() {
    let collector = collector();
    let brotli = export("key-a", vec![])
        .header("Content-Encoding", "br")
        .send(&collector)
        .unwrap();
    assert_eq!(brotli.status, 415);
    assert!(
        brotli
            .protobuf::<RpcStatus>()
            .message
            .contains("unsupported content encoding \"br\": use gzip")
    );
    let untyped = post("/v1/traces").bearer("key-a").send(&collector).unwrap();
    assert_eq!(untyped.status, 415);
    assert!(
        untyped.json()["message"]
            .as_str()
            .unwrap()
            .contains("application/x-protobuf")
    );
}

#[test]
fn a_full_success_is_an_empty_message() {
    let collector = collector();
    let response = export("key-a", vec![span("one", 1)]).send(&collector).unwrap();
    assert_eq!(
        response.protobuf::<ExportTraceServiceResponse>(),
        ExportTraceServiceResponse::default()
    );
    assert!(response.body.is_empty());
    let body = serde_json::to_value(request(vec![span("two", 2)])).unwrap();
    let response = post("/v1/traces").bearer("key-a").json(&body).send(&collector).unwrap();
    assert_eq!(response.json(), json!({}));
}

#[test]
fn an_empty_export_succeeds_as_a_connection_check() {
    let collector = collector();
    let nothing = ExportTraceServiceRequest::default();
    assert_eq!(
        post("/v1/traces").bearer("key-a").protobuf(&nothing).status(&collector),
        200
    );
    assert_eq!(
        post("/v1/traces")
            .bearer("key-a")
            .protobuf(&nothing)
            .gzip()
            .status(&collector),
        200
    );
    assert_eq!(
        post("/v1/traces").bearer("key-a").json(&json!({})).status(&collector),
        200
    );
    assert_eq!(
        post("/v1/traces")
            .bearer("key-a")
            .json(&json!({ "resourceSpans": null }))
            .status(&collector),
        200
    );
    assert_eq!(
        post("/v1/traces")
            .bearer("key-a")
            .body("application/json", "")
            .status(&collector),
        200
    );
    let compressed_nothing = post("/v1/traces").bearer("key-a").body("application/x-protobuf", "");
    assert_eq!(
        compressed_nothing.header("Content-Encoding", "gzip").status(&collector),
        200
    );
    assert_eq!(collector.project("acme").unwrap().summary().requests, 6);
}

#[test]
fn spans_with_invalid_ids_are_rejected_by_partial_success_and_the_others_are_stored() {
    let collector = collector();
    let invalid = |change: fn(&mut opentelemetry_proto::tonic::trace::v1::Span)| {
        let mut span = span("invalid", 9);
        change(&mut span);
        span
    };
    let spans = vec![
        span("one", 1),
        invalid(|span| span.trace_id = vec![1; 8]),
        invalid(|span| span.trace_id = vec![0; 16]),
        invalid(|span| span.span_id = vec![]),
        invalid(|span| span.span_id = vec![0; 8]),
        invalid(|span| span.parent_span_id = vec![1; 4]),
        span("two", 2),
    ];
    let response = export("key-a", spans.clone()).send(&collector).unwrap();
    assert_eq!(response.status, 200);
    let partial = response
        .protobuf::<ExportTraceServiceResponse>()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 5);
    assert_eq!(
        partial.error_message,
        "resourceSpans[0].scopeSpans[0].spans[1]: traceId has 8 bytes, expected 16"
    );
    assert_eq!(span_names(&collector, "acme"), ["one", "two"]);
    assert_eq!(collector.project("acme").unwrap().summary().rejected_spans, 5);

    let body = serde_json::to_value(request(spans)).unwrap();
    let response = post("/v1/traces").bearer("key-b").json(&body).send(&collector).unwrap();
    assert_eq!(response.json()["partialSuccess"]["rejectedSpans"], "5");
    assert_eq!(span_names(&collector, "bolt"), ["one", "two"]);
}

#[test]
fn an_all_zero_parent_id_means_no_parent() {
    let collector = collector();
    let mut root = span("root", 1);
    root.parent_span_id = vec![0; 8];
    assert_eq!(export("key-a", vec![root]).status(&collector), 200);
    assert_eq!(collector.project("acme").unwrap().spans()[0].parent_span_id, None);
}

#[test]
fn an_error_for_an_unparseable_body_names_the_field() {
    let collector = collector();
    let call = post("/v1/traces").bearer("key-a");
    // resource_spans > scope_spans > spans > name; the name is not UTF-8
    let body = vec![0x0a, 0x08, 0x12, 0x06, 0x12, 0x04, 0x2a, 0x02, 0xff, 0xfe];
    let response = call
        .clone()
        .body("application/x-protobuf", body)
        .send(&collector)
        .unwrap();
    assert_eq!(response.status, 400);
    let status = response.protobuf::<RpcStatus>();
    assert_eq!(status.code, 3);
    assert!(status.message.contains("Span.name"), "{}", status.message);

    let body = "{\"resourceSpans\": [\n {\"scopeSpans\": [{\"spans\": [{\"kind\": \"SPAN_KIND_ODD\"}]}]}]}";
    let response = call.body("application/json", body).send(&collector).unwrap();
    assert_eq!((response.status, response.json()["code"].as_i64()), (400, Some(3)));
    let message = response.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("SPAN_KIND_ODD") && message.contains("line 2"),
        "{message}"
    );
    assert!(span_names(&collector, "acme").is_empty());
    assert_eq!(collector.project("acme").unwrap().summary().answers[&400], 2);
}

#[test]
fn a_body_over_the_limit_is_refused_compressed_and_uncompressed() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_body_bytes(2000)
        .start()
        .unwrap();
    let large = export("key-a", vec![span(&"x".repeat(5000), 1)]);
    for call in [large.clone(), large.clone().chunked(), large.clone().gzip()] {
        let response = call.send(&collector).unwrap();
        assert_eq!(response.status, 413);
        assert_eq!(response.protobuf::<RpcStatus>().message, "body exceeds 2000 bytes");
    }
    assert!(span_names(&collector, "acme").is_empty());
    assert_eq!(export("key-a", vec![span("small", 1)]).gzip().status(&collector), 200);
}

#[test]
fn a_decompression_bomb_is_refused_at_the_limit() {
    let collector = LocalCollector::builder().max_body_bytes(1_000_000).start().unwrap();
    let bomb = post("/v1/traces")
        .bearer("key-a")
        .body("application/x-protobuf", vec![0; 50_000_000])
        .gzip();
    // 50 MB of zeros compress to about 200 kB, which is below the limit.
    let response = bomb.send(&collector).unwrap();
    assert_eq!(response.status, 413);
}

#[test]
fn wrong_methods_get_405_and_unknown_paths_get_404() {
    let collector = collector();
    let response = get("/v1/traces").bearer("key-a").send(&collector).unwrap();
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")));
    let response = call("DELETE", "/events").bearer("key-a").send(&collector).unwrap();
    assert_eq!((response.status, response.header("allow")), (405, Some("POST, PUT")));
    for path in ["/v1/metrics", "/v1/info", "/v1/tracesx", "/api/other"] {
        let response = post(path).bearer("key-a").send(&collector).unwrap();
        assert_eq!(response.status, 404, "{path}");
        assert!(response.json()["error"].as_str().unwrap().contains(path));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn every_body_gets_either_200_or_400(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            json in any::<bool>(),
        ) {
            static COLLECTOR: std::sync::LazyLock<LocalCollector> = std::sync::LazyLock::new(collector);
            let content_type = if json { "application/json" } else { "application/x-protobuf" };
            let status = post("/v1/traces").bearer("key-a").body(content_type, body).status(&COLLECTOR);
            prop_assert!(status == 200 || status == 400, "{status}");
        }
    }
}
