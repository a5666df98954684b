//! Request bodies from one lane's spans, encoded by [`otlp`](super::otlp). The key is attached
//! later.

use std::io::Write;
#[cfg(feature = "encoded")]
use std::ops::Range;
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
#[cfg(feature = "encoded")]
use crate::export::payload::Payload;

const JSON: &str = "application/json";
/// The fastest regular level, as used for gzip.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// A body and its content headers.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Encoded {
    fn new(content_type: &'static str, body: Bytes) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { headers, body }
    }

    /// Marks the body as compressed.
    fn in_encoding(mut self, name: &'static str) -> Self {
        self.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        self
    }
}

/// Encodes spans of one lane.
pub(crate) fn spans(
    spans: &[&SpanData],
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    guarded(|| {
        let encoded = match protocol {
            // For gRPC this is the message; framing is added on sending.
            Protocol::HttpProtobuf | Protocol::Grpc => protobuf(otlp::request(spans, resource)),
            Protocol::HttpJson => Encoded::new(JSON, json_bytes(otlp::json::request(spans, resource))?),
        };
        Ok(compressed(encoded, compression))
    })
}

/// Encodes spans of one lane together with encoded ones: requests, of which ranges of spans are
/// sent. Bodies that follow one another are one valid request.
///
/// The gzip body that a client sent is sent again, if it is the whole body.
#[cfg(feature = "encoded")]
pub(crate) fn with_payloads(
    spans: &[&SpanData],
    payloads: &[(&Payload, Range<usize>)],
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    guarded(|| {
        if protocol == Protocol::HttpJson {
            return Err(ExportError::Encoding("encoded spans cannot be sent as JSON".to_owned()));
        }
        if let ([], [(payload, range)]) = (spans, payloads) {
            if compression == Compression::Gzip
                && range.len() == payload.spans()
                && let Some(gzip) = payload.gzip()
            {
                return Ok(protobuf(gzip.clone()).in_encoding("gzip"));
            }
            return Ok(compressed(protobuf(payload.slice(range.clone())), compression));
        }
        let own = (!spans.is_empty()).then(|| otlp::request(spans, resource));
        let slices = payloads.iter().map(|(payload, range)| payload.slice(range.clone()));
        let bodies: Vec<Bytes> = own.into_iter().chain(slices).collect();
        Ok(compressed(protobuf(bodies.concat().into()), compression))
    })
}

/// Turns a panic into an error: it must cost only this batch, not the lane.
fn guarded(encode: impl FnOnce() -> Result<Encoded, ExportError>) -> Result<Encoded, ExportError> {
    catch_unwind(AssertUnwindSafe(encode))
        .unwrap_or_else(|_| Err(ExportError::Encoding("the encoder panicked".to_owned())))
}

fn protobuf(body: Bytes) -> Encoded {
    Encoded::new("application/x-protobuf", body)
}

/// Encodes session events as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Encoded, ExportError> {
    Ok(Encoded::new(JSON, json_bytes(serde_json::to_vec(value))?))
}

fn json_bytes(written: serde_json::Result<Vec<u8>>) -> Result<Bytes, ExportError> {
    written
        .map(Bytes::from)
        .map_err(|error| ExportError::Encoding(error.to_string()))
}

fn compressed(encoded: Encoded, compression: Compression) -> Encoded {
    let (name, written) = match compression {
        Compression::None => return encoded,
        Compression::Gzip => ("gzip", gzip(&encoded.body)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => ("zstd", zstd::bulk::compress(&encoded.body, ZSTD_LEVEL)),
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => unreachable!("the configuration was checked"),
    };
    match written {
        Ok(body) => Encoded {
            body: body.into(),
            ..encoded
        }
        .in_encoding(name),
        Err(_) => encoded,
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    gzip.write_all(body)?;
    gzip.finish()
}
