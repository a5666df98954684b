//! One HTTP request on the connections that all lanes share.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::ExportError;
use super::encode::Encoded;
use crate::backend::Destination;
use crate::faults::{self, Fault, planted};
use crate::secret::ApiKey;

/// How much of an answer is read. OTLP's answers are a few bytes; a server that sends more is not listened to.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How often a request may be sent elsewhere on the same host.
const MAX_REDIRECTS: usize = 3;
/// How long an unused connection is kept. Below what servers and load balancers commonly do, so that we close first.
const IDLE: Duration = Duration::from_secs(20);
/// How we call ourselves to servers.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

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

/// What became of one attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) result: Result<Answer, ExportError>,
    /// A connection came about, whatever happened on it.
    pub(super) connected: bool,
}

/// Why an exchange failed.
struct Broken {
    reason: String,
    connected: bool,
}

/// The shared connections. No proxy that a variable of the process names is used: it would see keys that were not meant for it.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    /// Why `https` cannot be had, such as a system without certificates. Endpoints without TLS work all the same.
    no_tls: Option<String>,
}

impl Transport {
    pub(super) fn new(timeout: Duration) -> Self {
        let (connector, no_tls) = connector();
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        Self {
            client: client.build(connector),
            timeout,
            no_tls,
        }
    }

    /// Sends once, with the key of the lane that the call is from.
    pub(super) async fn send(&self, call: &Call, to: &Destination, key: &ApiKey) -> Attempt {
        let mut connection = None;
        let ended = tokio::time::timeout(self.timeout, self.exchange(call, to, key, &mut connection)).await;
        let url = || call.url.clone();
        let (result, connected) = match ended {
            Ok(Ok(answer)) => (Ok(answer), true),
            Ok(Err(Broken { reason, connected })) => (Err(ExportError::Connection { url: url(), reason }), connected),
            Err(_) => {
                let timeout = self.timeout;
                let connected = connection.is_some_and(|captured| captured.connection_metadata().is_some());
                (Err(ExportError::Timeout { url: url(), timeout }), connected)
            }
        };
        Attempt { result, connected }
    }

    /// Redirects that keep the method are followed on the same scheme, host and port only: the request carries a key.
    async fn exchange(
        &self,
        call: &Call,
        to: &Destination,
        key: &ApiKey,
        connection: &mut Option<CaptureConnection>,
    ) -> Result<Answer, Broken> {
        let mut uri: Uri = call
            .url
            .parse()
            .map_err(|error: http::uri::InvalidUri| Broken::before(error.to_string()))?;
        let mut redirects = 0;
        loop {
            let answer = self.send_to(&uri, call, to, key, connection).await?;
            let keeps_method = matches!(
                answer.status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            let next = if keeps_method && redirects < MAX_REDIRECTS {
                same_host(&uri, &answer.headers)
            } else {
                None
            };
            match next {
                Some(next) => uri = next,
                None => return Ok(answer),
            }
            redirects += 1;
        }
    }

    async fn send_to(
        &self,
        uri: &Uri,
        call: &Call,
        to: &Destination,
        key: &ApiKey,
        connection: &mut Option<CaptureConnection>,
    ) -> Result<Answer, Broken> {
        if let (Some("https"), Some(reason)) = (uri.scheme_str(), &self.no_tls) {
            return Err(Broken::before(format!("TLS cannot be set up: {reason}")));
        }
        let mut request = Request::new(Full::new(call.encoded.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&call.encoded.headers);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &to.headers {
            headers.insert(name.clone(), value.clone());
        }
        // The key is set last: nothing can stand in its place.
        headers.insert(to.key_header.clone(), key.header_value(to.key_scheme));
        if planted(Fault::KeyShown)
            && let Some(key) = faults::previous(&headers[&to.key_header])
        {
            headers.insert("x-previous-key", key);
        }
        *connection = Some(capture_connection(&mut request));
        let response = self.client.request(request).await.map_err(|error| Broken {
            reason: innermost(&error),
            connected: !error.is_connect(),
        })?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                // A refusal is one whatever became of its text. A success that breaks off may have had a partial success in it.
                Err(_) if parts.status.is_client_error() => break,
                Err(error) => {
                    return Err(Broken {
                        reason: innermost(&error),
                        connected: true,
                    });
                }
            };
            let Some(data) = frame.data_ref() else { continue };
            body.extend_from_slice(&data[..data.len().min(MAX_ANSWER_BYTES - body.len())]);
            if body.len() == MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.freeze(),
        })
    }
}

impl Broken {
    /// No connection was made.
    fn before(reason: String) -> Self {
        Self {
            reason,
            connected: false,
        }
    }
}

/// Where a redirect leads, if that is a path on the same host.
fn same_host(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let to: Uri = headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    let Some(authority) = to.authority() else {
        // A path alone, as most servers give it.
        let mut parts = from.clone().into_parts();
        parts.path_and_query = to
            .path_and_query()
            .filter(|path| path.as_str().starts_with('/'))
            .cloned();
        return parts
            .path_and_query
            .is_some()
            .then(|| Uri::from_parts(parts).ok())
            .flatten();
    };
    (to.scheme() == from.scheme() && Some(authority) == from.authority()).then_some(to)
}

/// The cause at the bottom: the layers above it only say that a request failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn plain() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http
}

/// The connector, and why `https` cannot be had if it cannot.
#[cfg(feature = "tls")]
fn connector() -> (Connector, Option<String>) {
    use rustls_platform_verifier::BuilderVerifierExt;

    // Given explicitly: rustls' process-wide default is not ours to set or to depend on.
    let builder = || {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has all cipher suites of the default versions")
    };
    let (tls, reason) = match builder().with_platform_verifier() {
        Ok(tls) => (tls, None),
        Err(error) => (
            builder().with_root_certificates(rustls::RootCertStore::empty()),
            Some(error.to_string()),
        ),
    };
    let mut http = plain();
    http.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    (connector, reason)
}

#[cfg(not(feature = "tls"))]
fn connector() -> (Connector, Option<String>) {
    (plain(), None)
}
