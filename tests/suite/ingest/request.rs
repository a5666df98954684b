//! OTLP requests of a client.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tracer_registry::ingest::Traces;

/// Creates a request whose spans have these names. Each span has its own trace; ids count from 1.
pub(crate) fn request(names: &[&str]) -> ExportTraceServiceRequest {
    let span = |(name, number): (&&str, u64)| Span {
        trace_id: u128::from(number).to_be_bytes().into(),
        span_id: number.to_be_bytes().into(),
        name: (*name).to_owned(),
        kind: 1,
        ..Span::default()
    };
    let scope_spans = ScopeSpans {
        spans: names.iter().zip(1..).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource::default()),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
}

/// Returns the spans of the first block.
pub(crate) fn spans(request: &mut ExportTraceServiceRequest) -> &mut Vec<Span> {
    &mut request.resource_spans[0].scope_spans[0].spans
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

pub(crate) fn checked(request: &ExportTraceServiceRequest) -> Traces {
    Traces::from_protobuf(request.encode_to_vec().into()).expect("valid")
}

pub(crate) fn traces(names: &[&str]) -> Traces {
    checked(&request(names))
}
