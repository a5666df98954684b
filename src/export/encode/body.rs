//! Request bodies from one lane's spans, encoded by [`otlp`](super::otlp). The key is attached
//! later.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use serde::Serialize;

use super::otlp;
use crate::config::{Compression, Protocol};
use crate::export::ExportError;

/// The fastest regular level, as used for gzip.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// A body and its content headers.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Encodes spans of one lane.
pub(crate) fn spans(
    spans: &[&SpanData],
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    // A panic while encoding must cost only this batch, not the lane.
    catch_unwind(AssertUnwindSafe(|| {
        let (content_type, body) = match protocol {
            // For gRPC this is the message; framing is added on sending.
            Protocol::HttpProtobuf | Protocol::Grpc => ("application/x-protobuf", otlp::request(spans, resource)),
            Protocol::HttpJson => ("application/json", json_bytes(otlp::json::request(spans, resource))?),
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Ok(compressed(Encoded { headers, body }, compression))
    }))
    .unwrap_or_else(|_| Err(ExportError::Encoding("the encoder panicked".to_owned())))
}

/// Encodes session events as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Encoded, ExportError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let body = json_bytes(serde_json::to_vec(value))?;
    Ok(Encoded { headers, body })
}

fn json_bytes(written: serde_json::Result<Vec<u8>>) -> Result<Bytes, ExportError> {
    written
        .map(Bytes::from)
        .map_err(|error| ExportError::Encoding(error.to_string()))
}

fn compressed(mut encoded: Encoded, compression: Compression) -> Encoded {
    let (name, written) = match compression {
        Compression::None => return encoded,
        Compression::Gzip => ("gzip", gzip(&encoded.body)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => ("zstd", zstd::bulk::compress(&encoded.body, ZSTD_LEVEL)),
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => unreachable!("the configuration was checked"),
    };
    if let Ok(body) = written {
        encoded.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        encoded.body = body.into();
    }
    encoded
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    gzip.write_all(body)?;
    gzip.finish()
}
