//! From one lane's spans to the body of one request, by the conversions of `opentelemetry-proto`.
//!
//! Not by the exporter of `opentelemetry-otlp`: that one reads variables of the process for whatever it is not told, and some can't be told.
//! `OTEL_EXPORTER_OTLP_COMPRESSION=gzip` alone makes it refuse to be built, with all spans lost.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

use super::ExportError;
use crate::config::{Compression, Protocol};

/// A body, and the headers that say what it is.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Encodes spans of one lane.
pub(super) fn spans(
    spans: Vec<SpanData>,
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    // The conversions are not ours, and what they convert is the program's: a panic in there must cost this batch, not the lane.
    catch_unwind(AssertUnwindSafe(|| encode(spans, resource, protocol, compression)))
        .unwrap_or_else(|_| Err(ExportError::Encoding("the encoder panicked".to_owned())))
}

fn encode(
    spans: Vec<SpanData>,
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    let request = ExportTraceServiceRequest {
        resource_spans: group_spans_by_resource_and_scope(spans, &resource.into()),
    };
    let (content_type, body) = match protocol {
        Protocol::HttpProtobuf => ("application/x-protobuf", request.encode_to_vec()),
        Protocol::HttpJson => {
            let body = serde_json::to_vec(&request).map_err(|error| ExportError::Encoding(error.to_string()))?;
            ("application/json", body)
        }
    };
    Ok(compressed(plain(content_type, body), compression))
}

/// The body of a session event.
pub(super) fn json(value: &serde_json::Value) -> Encoded {
    plain("application/json", value.to_string().into_bytes())
}

fn plain(content_type: &'static str, body: Vec<u8>) -> Encoded {
    Encoded {
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]),
        body: body.into(),
    }
}

fn compressed(mut encoded: Encoded, compression: Compression) -> Encoded {
    if compression == Compression::None {
        return encoded;
    }
    let mut gzip = GzEncoder::new(Vec::with_capacity(encoded.body.len() / 4), flate2::Compression::fast());
    let written = gzip.write_all(&encoded.body).and_then(|()| gzip.finish());
    if let Ok(body) = written {
        encoded
            .headers
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        encoded.body = body.into();
    }
    encoded
}
