//! Requests of the clients: spans of some 400 bytes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::iter;
use std::time::Duration;

use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::json;

use crate::Result;

/// End of each span until it is stamped. No other field contains these bytes.
const END: u64 = 0x18_7a_c4_5e_b9_31_d2_6f;

/// What the text of spans is made of.
const WORDS: [&str; 32] = [
    "the", "order", "was", "placed", "by", "customer", "with", "a", "voucher", "for", "shipping", "to", "Berlin",
    "answer", "in", "one", "sentence", "and", "name", "every", "source", "that", "you", "used", "refund", "invoice",
    "tomorrow", "again", "policy", "because", "please", "without",
];

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    GzipProtobuf,
    Json,
}

/// A body and what belongs to it.
#[derive(Clone)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: u64,
    /// Header lines of its type and encoding.
    pub(crate) headers: &'static str,
    /// Where the end of each span is. Empty if the body is not plain protobuf.
    ends: Vec<usize>,
}

impl Body {
    pub(crate) fn new(encoding: Encoding, spans: u64) -> Result<Self> {
        Self::of(&request(spans), encoding)
    }

    fn of(request: &ExportTraceServiceRequest, encoding: Encoding) -> Result<Self> {
        let (bytes, headers) = match encoding {
            Encoding::Protobuf => (request.encode_to_vec(), "content-type: application/x-protobuf\r\n"),
            Encoding::GzipProtobuf => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(&request.encode_to_vec())?;
                let headers = "content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n";
                (gzip.finish()?, headers)
            }
            Encoding::Json => (
                serde_json::to_vec(&json_request(request))?,
                "content-type: application/json\r\n",
            ),
        };
        let ends = if encoding == Encoding::Protobuf {
            let starts = bytes.windows(8).enumerate();
            starts
                .filter(|(_, window)| *window == END.to_le_bytes())
                .map(|(at, _)| at)
                .collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            bytes,
            spans: request.resource_spans[0].scope_spans[0].spans.len() as u64,
            headers,
            ends,
        })
    }

    /// A gzip body of one span with so many bytes that cannot be compressed.
    pub(crate) fn random(bytes: usize) -> Result<Self> {
        let mut request = request(1);
        let mut random = Random(8);
        let value = iter::repeat_with(|| random.next().to_le_bytes())
            .flatten()
            .take(bytes)
            .collect();
        let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
        span.attributes.push(KeyValue {
            key: "document".to_owned(),
            value: Some(AnyValue {
                value: Some(Value::BytesValue(value)),
            }),
            ..KeyValue::default()
        });
        Self::of(&request, Encoding::GzipProtobuf)
    }

    /// Whether the ends of its spans are stamped.
    pub(crate) fn is_plain(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Sets the end of all spans, as the time since 1970.
    pub(crate) fn stamp(&mut self, end: Duration) {
        let nanos = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        for at in &self.ends {
            self.bytes[*at..*at + 8].copy_from_slice(&nanos);
        }
    }
}

fn request(spans: u64) -> ExportTraceServiceRequest {
    let mut random = Random(7);
    let trace_id = [random.next(), random.next()].map(u64::to_be_bytes).concat();
    let spans = (0..spans).map(|_| span(&trace_id, &mut random)).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "checkout"),
                    text("service.version", "1.2.3"),
                    text("telemetry.sdk.language", "python"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "bench".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(trace_id: &[u8], random: &mut Random) -> Span {
    let number = |key: &str, value: u64| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::IntValue(value.cast_signed())),
        }),
        ..KeyValue::default()
    };
    let word = || WORDS[usize::try_from(random.next() % WORDS.len() as u64).unwrap_or_default()];
    let sentence: Vec<&str> = iter::repeat_with(word).take(12).collect();
    Span {
        trace_id: trace_id.to_vec(),
        span_id: random.next().to_be_bytes().to_vec(),
        parent_span_id: random.next().to_be_bytes().to_vec(),
        name: "chat gpt-4o".to_owned(),
        kind: 3,
        start_time_unix_nano: 1_764_000_000_000_000_000 + random.next() % 1_000_000_000,
        end_time_unix_nano: END,
        attributes: vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", "gpt-4o"),
            number("gen_ai.usage.input_tokens", random.next() % 4000),
            number("gen_ai.usage.output_tokens", random.next() % 4000),
            text("gen_ai.response.id", &format!("chatcmpl-{:016x}", random.next())),
            text("gen_ai.input.messages", &sentence.join(" ")),
            text("server.address", "api.openai.com"),
            number("server.port", 443),
        ],
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// Returns a request in OTLP/JSON: ids in hex, and 64-bit numbers as text.
fn json_request(request: &ExportTraceServiceRequest) -> serde_json::Value {
    let resource_spans = request.resource_spans.iter().map(|block| {
        let scope_spans = block.scope_spans.iter().map(|scope| {
            json!({
                "scope": { "name": scope.scope.as_ref().map(|scope| scope.name.as_str()) },
                "spans": scope.spans.iter().map(json_span).collect::<Vec<_>>(),
            })
        });
        let resource = block.resource.iter().flat_map(|resource| &resource.attributes);
        json!({
            "resource": { "attributes": resource.map(json_attribute).collect::<Vec<_>>() },
            "scopeSpans": scope_spans.collect::<Vec<_>>(),
        })
    });
    json!({ "resourceSpans": resource_spans.collect::<Vec<_>>() })
}

fn json_span(span: &Span) -> serde_json::Value {
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": hex(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": span.attributes.iter().map(json_attribute).collect::<Vec<_>>(),
    })
}

fn json_attribute(attribute: &KeyValue) -> serde_json::Value {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    let value = match value {
        Some(Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
        _ => json!({}),
    };
    json!({ "key": attribute.key, "value": value })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SplitMix64: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
