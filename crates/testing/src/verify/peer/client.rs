//! HTTP client that all exporters share.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

type Inner = legacy::Client<HttpConnector, Full<Bytes>>;

#[derive(Clone)]
pub(super) struct Client {
    inner: Inner,
    /// Exporters call from threads without a runtime.
    runtime: Handle,
}

/// A [`Client`] with a key. Removes headers from environment variables of the SDK.
pub(super) struct KeyedClient {
    client: Client,
    authorization: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(runtime: Handle) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { inner, runtime }
    }

    pub(super) fn for_key(&self, key: &str) -> KeyedClient {
        KeyedClient {
            client: self.clone(),
            authorization: HeaderValue::from_str(&format!("Bearer {key}")).ok(),
        }
    }
}

impl HttpClient for KeyedClient {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (mut parts, body) = request.into_parts();
        parts.headers.clear();
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        parts
            .headers
            .extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let sent = self.client.inner.request(Request::from_parts(parts, Full::new(body)));
        let answered = self.client.runtime.spawn(async move {
            let (parts, body) = sent.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        });
        Box::pin(async move { answered.await? })
    }
}

impl fmt::Debug for KeyedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedClient").finish_non_exhaustive()
    }
}
