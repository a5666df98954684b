//! One HTTP request on a lane's connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

use super::ExportError;
use super::connections::{Connections, Line, Way, Ways};
use super::encode::Encoded;
use super::proxy::Proxy;
use super::tls::TlsError;
use crate::backend::Destination;
use crate::faults::{self, Fault, planted};
use crate::secret::ApiKey;

/// How much of an answer is read. OTLP's answers are a few bytes; a server that sends more is not listened to.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How often a request may be sent elsewhere on the same host.
const MAX_REDIRECTS: usize = 3;
/// How we call ourselves to servers.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

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

/// Sends requests, each on the connections of its lane. No proxy is used that the configuration does not name, whatever variables of the
/// process say: it would see keys that were not meant for it.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    ways: Arc<Ways>,
    timeout: Duration,
}

impl Transport {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            ways: Ways::new(timeout.saturating_mul(2)),
            timeout,
        }
    }

    /// The connections that lanes which go this way share.
    pub(super) fn connections(&self, way: &Way) -> Result<Arc<Connections>, TlsError> {
        self.ways.connections(way)
    }

    /// Sends once, with the key of the lane that the call is from.
    pub(super) async fn send(&self, call: &Call, to: &Destination, key: &ApiKey, on: &Line<'_>) -> Attempt {
        let mut connection = None;
        let ended = tokio::time::timeout(self.timeout, exchange(call, to, key, on, &mut connection)).await;
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

/// Redirects that keep the method are followed on the same scheme, host and port only: the request carries a key.
async fn exchange(
    call: &Call,
    to: &Destination,
    key: &ApiKey,
    on: &Line<'_>,
    connection: &mut Option<CaptureConnection>,
) -> Result<Answer, Broken> {
    let mut uri: Uri = call
        .url
        .parse()
        .map_err(|error: http::uri::InvalidUri| Broken::before(error.to_string()))?;
    let mut redirects = 0;
    loop {
        let answer = send_to(&uri, call, to, key, on, connection).await?;
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
    uri: &Uri,
    call: &Call,
    to: &Destination,
    key: &ApiKey,
    on: &Line<'_>,
    connection: &mut Option<CaptureConnection>,
) -> Result<Answer, Broken> {
    let mut request = Request::new(Full::new(call.encoded.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.clone_from(&call.encoded.headers);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &to.headers {
        headers.insert(name.clone(), value.clone());
    }
    let proxy = on.forwarding_proxy(uri);
    if let Some(value) = proxy.and_then(Proxy::authorization) {
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    // The key is set last: nothing can stand in its place.
    headers.insert(to.key_header.clone(), key.header_value(to.key_scheme));
    if planted(Fault::KeyShown)
        && let Some(key) = faults::previous(&headers[&to.key_header])
    {
        headers.insert("x-previous-key", key);
    }
    *connection = Some(capture_connection(&mut request));
    let response = on.client.request(request).await.map_err(|error| Broken {
        connected: !error.is_connect(),
        reason: on.note_failure(&error),
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
                    connected: true,
                    reason: on.note_failure(&error),
                });
            }
        };
        let Some(data) = frame.data_ref() else { continue };
        body.extend_from_slice(&data[..data.len().min(MAX_ANSWER_BYTES - body.len())]);
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    if proxy.is_some_and(|proxy| proxy.is_repeated_in(&String::from_utf8_lossy(&body))) {
        body.clear();
    }
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.freeze(),
    })
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
