//! From one lane's spans to the body of one request: protobuf by [`otlp`](super::otlp), JSON by `opentelemetry-otlp`.
//!
//! For JSON an exporter of that crate is made for the one batch, with an [`HttpClient`] that keeps the request instead of sending it. So the encoding is
//! the reference one, while status, `Retry-After`, repetition, compression and the key stay in our hands: the exporter never sees a key,
//! and headers that `OTEL_EXPORTER_OTLP_HEADERS` adds to its request, or puts in the place of its own, are not taken over.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use futures_util::FutureExt;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use serde::Serialize;

use super::ExportError;
use super::otlp;
use crate::config::{Compression, Protocol};

/// The fastest of the regular levels, as gzip's is.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// A body, and the headers that say what it is.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Keeps the request of one encoding. It ends with the encoding, so no other batch can be in it.
#[derive(Debug, Default)]
struct Keep(Mutex<Option<Request<Bytes>>>);

impl Keep {
    fn take(&self) -> Option<Request<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl HttpClient for Keep {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        Box::pin(std::future::ready(Ok(Response::new(Bytes::new()))))
    }
}

/// Encodes spans of one lane.
pub(super) fn spans(
    spans: &[&SpanData],
    resource: &Resource,
    protocol: Protocol,
    compression: Compression,
) -> Result<Encoded, ExportError> {
    // What is encoded is the program's: a panic in there must cost this batch, not the lane.
    catch_unwind(AssertUnwindSafe(|| {
        let (content_type, body) = match protocol {
            // With gRPC it is the message; what is around it is made when it is sent.
            Protocol::HttpProtobuf | Protocol::Grpc => ("application/x-protobuf", otlp::request(spans, resource)),
            Protocol::HttpJson => {
                let spans = spans.iter().copied().cloned().collect();
                (
                    "application/json",
                    by_exporter(spans, resource, opentelemetry_otlp::Protocol::HttpJson)?,
                )
            }
        };
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        if let Some(encoding) = encoding_of(&body) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(compressed(Encoded { headers, body }, compression))
    }))
    .unwrap_or_else(|_| Err(ExportError::Encoding("the encoder panicked".to_owned())))
}

/// The body that `opentelemetry-otlp` makes of spans. No header of its request is taken over: a variable of the process may have set any of
/// them.
pub(super) fn by_exporter(
    spans: Vec<SpanData>,
    resource: &Resource,
    protocol: opentelemetry_otlp::Protocol,
) -> Result<Bytes, ExportError> {
    let error = |reason: String| ExportError::Encoding(reason);
    let keep = Arc::new(Keep::default());
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(Arc::clone(&keep) as Arc<dyn HttpClient>)
        .with_protocol(protocol)
        // Said explicitly, or variables of the process would say it. The address is never used.
        .with_endpoint("http://127.0.0.1/v1/traces")
        .with_timeout(Duration::from_secs(1))
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|failed| error(failed.to_string()))?;
    exporter.set_resource(resource);
    let result = exporter
        .export(spans)
        .now_or_never()
        .ok_or_else(|| error("the encoder was suspended".to_owned()))?;
    result.map_err(|failed| error(failed.to_string()))?;
    let request = keep.take();
    request
        .map(Request::into_body)
        .ok_or_else(|| error("the encoder made no request".to_owned()))
}

/// The body of a session event.
pub(super) fn json(value: &impl Serialize) -> Result<Encoded, ExportError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let body = serde_json::to_vec(value).map_err(|error| ExportError::Encoding(error.to_string()))?;
    Ok(Encoded {
        headers,
        body: body.into(),
    })
}

/// How the exporter compressed a body, where another crate turned its own compression on. By the formats' magic numbers (RFC 1952, 2.3.1;
/// RFC 8878, 3.1.1): a protobuf request begins with the tag 0x0a, a JSON one with a brace.
fn encoding_of(body: &[u8]) -> Option<&'static str> {
    match body {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        _ => None,
    }
}

fn compressed(mut encoded: Encoded, compression: Compression) -> Encoded {
    // A body is compressed already where another crate turned the exporter's own compression on.
    if encoded.headers.contains_key(CONTENT_ENCODING) {
        return encoded;
    }
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
