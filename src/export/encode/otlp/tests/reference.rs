//! Reference encoding by `opentelemetry-otlp`: its exporter sends to a client that keeps the
//! request.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

/// Keeps the body of the last request.
#[derive(Debug, Default)]
struct KeepBody(Mutex<Bytes>);

impl HttpClient for KeepBody {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = request.into_body();
        Box::pin(std::future::ready(Ok(Response::new(Bytes::new()))))
    }
}

pub(crate) fn reference_body(spans: Vec<SpanData>, resource: &Resource, protocol: Protocol) -> Bytes {
    let keep = Arc::new(KeepBody::default());
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(Arc::clone(&keep) as Arc<dyn HttpClient>)
        .with_protocol(protocol)
        .with_endpoint("http://127.0.0.1/v1/traces")
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .expect("an exporter");
    exporter.set_resource(resource);
    let result = exporter.export(spans).now_or_never().expect("nothing to wait for");
    result.expect("it encodes");
    let body = keep.0.lock().unwrap_or_else(PoisonError::into_inner);
    body.clone()
}
