//! One HTTP request on the connections that all lanes share.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::{Attempt, Policy};

use super::encode::Encoded;
use super::{EngineError, ExportError};
use crate::backend::Destination;
use crate::secret::ApiKey;

/// How much of an answer is read. OTLP's answers are a few bytes; a server that sends more is not listened to.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How often a request may be sent elsewhere on the same host.
const MAX_REDIRECTS: usize = 3;
/// How long an unused connection is kept. Below what servers and load balancers commonly do, so that we close first.
const IDLE: Duration = Duration::from_secs(20);

/// What one request asks for; the key is not in it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) encoded: Encoded,
}

/// A server's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The shared connections.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    timeout: Duration,
}

impl Transport {
    pub(super) fn new(timeout: Duration) -> Result<Self, EngineError> {
        let builder = reqwest::Client::builder()
            // Not through a proxy that a variable of the process names: it would see keys that were not meant for it.
            .no_proxy()
            .redirect(Policy::custom(same_host))
            .pool_idle_timeout(IDLE)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "tls")]
        let builder = builder.tls_backend_preconfigured(tls()?);
        let client = builder
            .build()
            .map_err(|error| EngineError::Client(error.to_string()))?;
        Ok(Self { client, timeout })
    }

    /// Sends once, with the key of the lane that the call is from.
    pub(super) async fn send(&self, call: &Call, to: &Destination, key: &ApiKey) -> Result<Answer, ExportError> {
        let mut headers = call.encoded.headers.clone();
        for (name, value) in &to.headers {
            headers.insert(name.clone(), value.clone());
        }
        // The key is set last: nothing can stand in its place.
        headers.insert(to.key_header.clone(), key.header_value(to.key_scheme));
        let request = self
            .client
            .request(call.method.clone(), &call.url)
            .headers(headers)
            .body(call.encoded.body.clone());
        let exchange = async {
            let mut response = request.send().await?;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await? {
                let room = MAX_ANSWER_BYTES - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == MAX_ANSWER_BYTES {
                    break;
                }
            }
            Ok(Answer {
                status: response.status(),
                headers: std::mem::take(response.headers_mut()),
                body: body.freeze(),
            })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ExportError::Connection {
                url: call.url.clone(),
                reason: innermost(&error),
            }),
            Err(_) => Err(ExportError::Timeout {
                url: call.url.clone(),
                timeout: self.timeout,
            }),
        }
    }
}

/// Follows to the same scheme, host and port only: the request carries a key. And only where method and body go along: by the other
/// statuses a client may ask again with an empty `GET`, whose 200 would count the spans as delivered (RFC 9110, 15.4).
fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().first().map(reqwest::Url::origin);
    let whole = matches!(
        attempt.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    if whole && from == Some(attempt.url().origin()) && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// The cause at the bottom: the layers above it only say that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(feature = "tls")]
fn tls() -> Result<rustls::ClientConfig, EngineError> {
    use rustls_platform_verifier::BuilderVerifierExt;

    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| EngineError::Client(error.to_string()))?;
    Ok(config.with_no_client_auth())
}
