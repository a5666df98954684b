//! Fuzz target: OTLP/JSON.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Content;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use serde_json::Value;
use tracer_registry::ingest::Traces;

use super::to_protobuf;

/// Longest error: a path of 16 steps, and a rule.
const MAX_ERROR_BYTES: usize = 500;
/// Text of an input that no error shows.
const HIDDEN: &str = "s3cret";

/// Converts a request. Returns whether its traces are valid.
///
/// # Panics
/// Panics if the result is no protobuf, is larger than the input, or differs from what other readers
/// and writers of JSON make of it.
pub fn json(data: &[u8]) -> bool {
    let protobuf = match to_protobuf(data) {
        Ok(protobuf) => protobuf,
        Err(error) => {
            let error = error.to_string();
            assert!(
                error.len() < MAX_ERROR_BYTES && !error.contains(char::is_control),
                "{error}"
            );
            assert!(!error.contains(HIDDEN), "{error}");
            return false;
        }
    };
    // The length of a text of 16 KiB takes a byte more than its quotes.
    assert!(protobuf.len() <= data.len() + data.len() / (16 << 10));
    let is_valid = match Traces::from_protobuf(protobuf.clone().into()) {
        Ok(traces) => {
            let request = Request::decode(&protobuf[..]).expect("valid traces are valid protobuf");
            assert_eq!(traces.spans(), spans(&request).len());
            true
        }
        Err(error) => {
            // The conversion checks everything else.
            let error = error.to_string();
            let is_of_ids = error.contains("bytes, found") || error.ends_with("an id is not all zeros");
            assert!(
                is_of_ids || error.ends_with("bytes besides spans") || error.contains("blocks without"),
                "{error}"
            );
            false
        }
    };
    // Tables of 32 levels are deeper than `prost` decodes.
    let Ok(request) = Request::decode(&protobuf[..]) else {
        return is_valid;
    };
    if let Ok(text) = serde_json::from_slice::<Value>(data) {
        assert_eq!(spans(&request), spans_in(&text));
    }
    if attributes(&request).all(has_json) {
        let written = serde_json::to_vec(&request).expect("values of JSON");
        let again = to_protobuf(&written).unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
        let again = Request::decode(&again[..]).expect("protobuf");
        assert_eq!(again, request);
    }
    is_valid
}

/// What identifies a span: its name, its ids, and the number of its attributes.
type Summary = (String, Vec<u8>, Vec<u8>, usize);

fn spans(request: &Request) -> Vec<Summary> {
    let scopes = request.resource_spans.iter().flat_map(|block| &block.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    let summary = spans.map(|span| {
        let (trace, id) = (span.trace_id.clone(), span.span_id.clone());
        (span.name.clone(), trace, id, span.attributes.len())
    });
    summary.collect()
}

/// Finds the spans of a text without the schema.
fn spans_in(request: &Value) -> Vec<Summary> {
    let field = |of: &Value, names: [&str; 2]| names.iter().find_map(|name| of.get(name).cloned()).unwrap_or_default();
    let list = |of: &Value, names| field(of, names).as_array().cloned().unwrap_or_default();
    let text = |of: &Value, names| field(of, names).as_str().unwrap_or_default().to_owned();
    let id = |of: &Value, names| {
        let digits = text(of, names);
        let bytes = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
        bytes.collect::<Result<Vec<u8>, _>>().expect("hexadecimal digits")
    };
    let mut spans = Vec::new();
    for block in list(request, ["resourceSpans", "resource_spans"]) {
        for scope in list(&block, ["scopeSpans", "scope_spans"]) {
            for span in list(&scope, ["spans", "spans"]) {
                spans.push((
                    text(&span, ["name", "name"]),
                    id(&span, ["traceId", "trace_id"]),
                    id(&span, ["spanId", "span_id"]),
                    list(&span, ["attributes", "attributes"]).len(),
                ));
            }
        }
    }
    spans
}

fn attributes(request: &Request) -> impl Iterator<Item = &KeyValue> {
    request.resource_spans.iter().flat_map(|block| {
        let of_resource = block.resource.iter().flat_map(|resource| &resource.attributes);
        let of_scopes = block.scope_spans.iter().flat_map(|scope| {
            let of_scope = scope.scope.iter().flat_map(|scope| &scope.attributes);
            let of_spans = scope.spans.iter().flat_map(|span| {
                let of_events = span.events.iter().flat_map(|event| &event.attributes);
                let of_links = span.links.iter().flat_map(|link| &link.attributes);
                span.attributes.iter().chain(of_events).chain(of_links)
            });
            of_scope.chain(of_spans)
        });
        of_resource.chain(of_scopes)
    })
}

/// Whether the writer of opentelemetry-proto has JSON for a value.
fn has_json(attribute: &KeyValue) -> bool {
    attribute.value.as_ref().is_none_or(value_has_json)
}

fn value_has_json(value: &AnyValue) -> bool {
    match &value.value {
        None => false,
        Some(Content::DoubleValue(double)) => double.is_finite(),
        Some(Content::ArrayValue(list)) => list.values.iter().all(value_has_json),
        Some(Content::KvlistValue(table)) => table.values.iter().all(has_json),
        Some(_) => true,
    }
}
