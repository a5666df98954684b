use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message as _;

use super::to_protobuf;

/// A JSON text, and the bytes that protobuf's own library makes of it, if it must be accepted.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// The requests that `tests/fixtures/otlp_json/generate.py` made.
static GENERATED: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/otlp_json/requests.bin.zst");
    let file = zstd::decode_all(File::open(path).expect("the file is in the repository")).expect("a zstd file");
    let mut rest = &file[..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let json = block(&mut rest).expect("a text");
        entries.push((json, block(&mut rest)));
    }
    entries
});

/// Takes a block with its length off the front. The length `u32::MAX` is no block.
fn block(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(*rest.split_off(..4)?.as_array()?);
    (length != u32::MAX).then(|| rest.split_off(..length as usize).expect("a whole block").to_vec())
}

fn decode(protobuf: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(protobuf).expect("valid protobuf")
}

fn converted(json: &str) -> ExportTraceServiceRequest {
    decode(&to_protobuf(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}")))
}

fn refusal(json: &str) -> String {
    to_protobuf(json.as_bytes())
        .expect_err("the text is refused")
        .to_string()
}

/// A request with one span of these fields.
fn span_json(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

fn span(fields: &str) -> Span {
    converted(&span_json(fields))
        .resource_spans
        .remove(0)
        .scope_spans
        .remove(0)
        .spans
        .remove(0)
}

/// A request with one attribute of this value.
fn value_json(value: &str) -> String {
    span_json(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    }
}

#[test]
fn generated_requests_convert_as_by_the_official_library() {
    let accepted = GENERATED
        .iter()
        .filter_map(|(json, official)| Some((json, official.as_ref()?)));
    let mut count = 0;
    for (json, official) in accepted {
        let text = String::from_utf8_lossy(json);
        let ours = to_protobuf(json).unwrap_or_else(|error| panic!("{error}: {text}"));
        // NaN is not equal to itself, so bytes are compared. Equal lengths: no zero values, no padded lengths.
        let (ours_decoded, official_decoded) = (decode(&ours), decode(official));
        let equal = ours.len() == official.len() && ours_decoded.encode_to_vec() == official_decoded.encode_to_vec();
        assert!(equal, "{text}\n{ours_decoded:#?}\n{official_decoded:#?}");
        count += 1;
    }
    assert_eq!(count, 10_000);
}

#[test]
fn generated_wrong_requests_are_refused() {
    let refused = GENERATED.iter().filter(|(_, official)| official.is_none());
    let mut count = 0;
    for (json, _) in refused {
        let Err(error) = to_protobuf(json) else {
            panic!("accepted: {}", String::from_utf8_lossy(json));
        };
        assert!(error.to_string().len() < 500, "{error}");
        count += 1;
    }
    assert!(count > 2_000, "{count}");
}

#[test]
fn the_honeyhive_clients_json_is_accepted() {
    let request = converted(HONEYHIVE);
    let expected = Span {
        trace_id: vec![
            0x7b, 0x3f, 0x9a, 0x52, 0x8c, 0x1d, 0x4e, 0x60, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x07, 0x18,
        ],
        span_id: vec![0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71],
        name: "answer".to_owned(),
        kind: 1,
        start_time_unix_nano: 1_764_430_000_123_456_789,
        end_time_unix_nano: 1_764_430_001_000_000_000,
        attributes: vec![
            attribute(
                "honeyhive.session_id",
                Value::StringValue("3d7f5a0e-3c0d-4c3f-9f57-6a3f0d1c2b4a".to_owned()),
            ),
            attribute("honeyhive_event_type", Value::StringValue("chain".to_owned())),
            attribute("honeyhive_metrics.score", Value::DoubleValue(0.5)),
            attribute("gen_ai.usage.input_tokens", Value::IntValue(12)),
            attribute("honeyhive_metadata.cached", Value::BoolValue(false)),
            attribute(
                "honeyhive_metadata.tags",
                Value::ArrayValue(ArrayValue {
                    values: vec![AnyValue {
                        value: Some(Value::StringValue("é".to_owned())),
                    }],
                }),
            ),
        ],
        status: Some(Status {
            message: "boom".to_owned(),
            code: 2,
        }),
        ..Span::default()
    };
    let expected = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![attribute("service.name", Value::StringValue("app".to_owned()))],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "honeyhive".to_owned(),
                ..InstrumentationScope::default()
            }),
            spans: vec![expected],
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    assert_eq!(request.resource_spans, [expected]);
}

const HONEYHIVE: &str = r#"{
    "resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "app"}}]},
        "scopeSpans": [{
            "scope": {"name": "honeyhive", "version": null},
            "spans": [{
                "traceId": "7b3f9a528c1d4e60a1b2c3d4e5f60718",
                "spanId": "0a1b2c3d4e5f6071",
                "parentSpanId": null,
                "name": "answer",
                "kind": "SPAN_KIND_INTERNAL",
                "startTimeUnixNano": "1764430000123456789",
                "endTimeUnixNano": "1764430001000000000",
                "attributes": [
                    {"key": "honeyhive.session_id", "value": {"stringValue": "3d7f5a0e-3c0d-4c3f-9f57-6a3f0d1c2b4a"}},
                    {"key": "honeyhive_event_type", "value": {"stringValue": "chain"}},
                    {"key": "honeyhive_metrics.score", "value": {"doubleValue": 0.5}},
                    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
                    {"key": "honeyhive_metadata.cached", "value": {"boolValue": false}},
                    {"key": "honeyhive_metadata.tags", "value": {"arrayValue": {"values": [{"stringValue": "\u00e9"}]}}}
                ],
                "events": [],
                "status": {"code": "STATUS_CODE_ERROR", "message": "boom"}
            }]
        }]
    }]
}"#;

#[test]
fn an_empty_parent_id_is_absent() {
    assert_eq!(
        span(r#""parentSpanId":"","name":"a""#),
        Span {
            name: "a".to_owned(),
            ..Span::default()
        }
    );
}

#[test]
fn errors_have_the_path_and_the_rule() {
    let cases = [
        ("[]", "expected an object"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        (
            r#"{"resourceSpans":5}"#,
            "resourceSpans: expected an array at line 1 column 18",
        ),
        (
            r#"{"resourceSpans":[{},null]}"#,
            "resourceSpans[1]: a list has no null at line 1 column 25",
        ),
        (
            &span_json(r#""name":"a","name":"b""#),
            "resourceSpans[0].scopeSpans[0].spans[0].name: set more than once at line 1 column 61",
        ),
        (
            &span_json(r#""trace_id":"0g""#),
            "resourceSpans[0].scopeSpans[0].spans[0].traceId: expected a string of hexadecimal digits, two for \
             each byte at line 1 column 59",
        ),
        (
            &value_json(r#"{"intValue":1,"stringValue":""}"#),
            "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.stringValue: an attribute has one value at \
             line 1 column 108",
        ),
        (
            &value_json(&format!(
                "{}5{}",
                r#"{"arrayValue":{"values":["#.repeat(9),
                "]}}".repeat(9)
            )),
            "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.arrayValue.values[0].arrayValue.values[0]\
             .arrayValue...: expected an object at line 1 column 303",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(refusal(json), expected);
    }
    assert_eq!(
        to_protobuf(b"{\"a\":\"\xff\"}").expect_err("no UTF-8").to_string(),
        "not valid UTF-8"
    );
}

#[test]
fn errors_are_short_and_without_values_of_the_input() {
    let long = "secret".repeat(100_000);
    let nested = format!("{}5{}", r#"{"arrayValue":{"values":["#.repeat(30), "]}}".repeat(30));
    let texts = [
        format!(r#""{long}""#),
        span_json(&format!(r#""kind":true,"name":"{long}""#)),
        span_json(&format!(r#""startTimeUnixNano":"{long}""#)),
        span_json(&format!(r#""traceId":"{long}""#)),
        span_json(&format!(r#""attributes":"{long}""#)),
        span_json(&format!(r#""status":"{long}""#)),
        span_json(&format!(r#""{long}":1,"name":5"#)),
        value_json(&format!(r#"{{"bytesValue":"{long}!"}}"#)),
        value_json(&format!(r#"{{"boolValue":"{long}"}}"#)),
        value_json(&format!(r#"{{"doubleValue":"{long}"}}"#)),
        value_json(&format!(r#"{{"stringValue":"{long}}}"#)),
        value_json(&nested),
    ];
    for text in texts {
        let error = refusal(&text);
        assert!(error.len() < 500 && !error.contains("secret"), "{error}");
    }
}

#[test]
fn values_nest_to_a_depth_of_32() {
    let forms = [
        (r#"{"arrayValue":{"values":["#, "]}}"),
        (r#"{"kvlistValue":{"values":[{"value":"#, "}]}}"),
    ];
    for (open, close) in forms {
        let nested = |depth: usize| value_json(&format!("{}{{}}{}", open.repeat(depth - 1), close.repeat(depth - 1)));
        // The decoder of the tests allows no deeper lists of pairs.
        decode(&to_protobuf(nested(31).as_bytes()).expect("depth 31"));
        assert!(to_protobuf(nested(32).as_bytes()).is_ok());
        assert!(refusal(&nested(33)).contains("values nest at most 32 levels"));
        refusal(&nested(200_000));
    }
}

#[test]
fn unknown_fields_of_any_depth_are_skipped() {
    let deep = format!("{}{}", r#"{"value":["#.repeat(500_000), "]}".repeat(500_000));
    assert_eq!(span(&format!(r#""unknown":{deep},"name":"a""#)).name, "a");
}

#[test]
fn large_texts_take_linear_time() {
    let escaped = r"\n\ud83e\udd80".repeat(100_000);
    let many = r#"{"stringValue":"a"},"#.repeat(100_000);
    let value = format!(r#"{{"arrayValue":{{"values":[{many}{{"stringValue":"{escaped}"}}]}}}}"#);
    let nested = format!(
        "{}{value}{}",
        r#"{"arrayValue":{"values":["#.repeat(30),
        "]}}".repeat(30)
    );
    let start = Instant::now();
    let protobuf = to_protobuf(value_json(&nested).as_bytes()).expect("valid");
    let text = "\n🦀".repeat(100_000);
    assert!(protobuf.windows(text.len()).any(|window| window == text.as_bytes()));
    decode(&protobuf);
    // Quadratic time would be minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Changes of a text: where, and what is put in place of how many bytes.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let parts = r#"[\[\]{}",:\\0-9a-z.\-]{0,3}|null|true|1e400|"\\\\ud800"|"kind":|"intValue":1,|"values":\[\{"#;
    prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, parts), 1..5)
}

proptest! {
    #[test]
    fn any_bytes_are_converted_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let object = [b"{".as_slice(), &bytes].concat();
        for json in [bytes, object] {
            if let Ok(protobuf) = to_protobuf(&json) {
                decode(&protobuf);
            }
        }
    }

    #[test]
    fn a_changed_request_becomes_valid_protobuf_or_is_refused(
        entry in any::<prop::sample::Index>(),
        changes in changes(),
    ) {
        let mut json = entry.get(&GENERATED).0.clone();
        for (at, removed, inserted) in changes {
            let at = at.index(json.len() + 1);
            json.splice(at..json.len().min(at + removed), inserted.into_bytes());
        }
        match to_protobuf(&json) {
            Ok(protobuf) => drop(decode(&protobuf)),
            Err(error) => prop_assert!(error.to_string().len() < 500, "{}", error),
        }
    }
}
