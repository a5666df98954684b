//! One request on a lane's connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::{Instant, timeout_at};

use super::connections::{ClientLease, ConnectionKey, ConnectionPool, Connections};
use super::proxy::Proxy;
use super::receiver_text::harmless_reason;
use super::tls::TlsError;
use crate::backend::Destination;
use crate::config::Protocol;
use crate::export::ExportError;
use crate::export::encode::body::Encoded;
use crate::faults::{self, Fault, planted};
use crate::secret::{ApiKey, SentSecrets};

/// How much of an answer is read. OTLP's answers are a few bytes; a server that sends more is not listened to.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How often a request may be sent elsewhere on the same host.
const MAX_REDIRECTS: usize = 3;
/// How we call ourselves to servers.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What one request asks for; the key is not in it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) by: By,
    pub(crate) url: String,
    pub(crate) encoded: Encoded,
}

/// How a request is made.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Http(Method),
    #[cfg(feature = "grpc")]
    Grpc,
}

/// What a receiver said.
#[derive(Debug)]
pub(crate) enum Reply {
    Http(Answer),
    /// The message of an answer, or the status in its place.
    #[cfg(feature = "grpc")]
    Grpc(Result<Bytes, Box<tonic::Status>>),
    /// A success by HTTP, of a request by gRPC.
    #[cfg(feature = "grpc")]
    NoGrpc(Answer),
}

/// A server's answer by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As much of it as was read.
    pub(crate) body: Bytes,
    /// Why the rest of the body was not read, if there is more.
    pub(crate) cut: Option<Cut>,
}

/// What ended a body before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More than [`MAX_ANSWER_BYTES`].
    TooLarge,
    /// The request's time was over.
    TimedOut(Duration),
    /// The connection broke.
    Broken(String),
}

/// What became of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) result: Result<Reply, ExportError>,
    /// What went out with it, and is not shown where the receiver repeats it.
    pub(crate) secrets: SentSecrets<'a>,
    /// A connection came about, whatever happened on it.
    pub(crate) connected: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Not within the request's time.
    #[error("not in time")]
    TimedOut,
    #[error("{reason}")]
    Failed { reason: String, connected: bool },
}

/// Sends requests, each on the connections of its lane. No proxy is used that the configuration does not name, whatever variables of the
/// process say: it would see keys that were not meant for it.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    ways: Arc<ConnectionPool>,
    timeout: Duration,
}

/// One attempt: what is asked, of whom, as whom, on what.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) call: &'a Call,
    pub(crate) to: &'a Destination,
    pub(crate) key: &'a ApiKey,
    pub(crate) on: &'a ClientLease<'a>,
    /// The connection that was got first.
    connection: &'a OnceLock<CaptureConnection>,
    pub(crate) timeout: Duration,
    /// None for a time that the clock cannot add.
    deadline: Option<Instant>,
}

impl Call {
    /// A request that carries spans.
    pub(crate) fn spans(protocol: Protocol, to: &Destination, encoded: Encoded) -> Self {
        let by = match protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => By::Http(Method::POST),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => By::Grpc,
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => unreachable!("the configuration was checked"),
        };
        Self {
            by,
            url: to.traces_url.clone(),
            encoded,
        }
    }
}

impl Transport {
    pub(crate) fn new(timeout: Duration, protocol: Protocol, strict_permissions: bool) -> Self {
        Self {
            ways: ConnectionPool::new(
                timeout.saturating_mul(2),
                protocol == Protocol::Grpc,
                strict_permissions,
            ),
            timeout,
        }
    }

    /// The connections that lanes which go this way share.
    pub(crate) fn connections(&self, way: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        self.ways.connections(way)
    }

    /// Sends once, with the key of the lane that the call is from.
    pub(crate) async fn send<'a>(
        &self,
        call: &Call,
        to: &Destination,
        key: &'a ApiKey,
        on: &ClientLease<'a>,
    ) -> Attempt<'a> {
        let secrets = SentSecrets::new(key, on.proxy_credentials());
        let connection = OnceLock::new();
        let exchange = Exchange {
            call,
            to,
            key,
            on,
            connection: &connection,
            timeout: self.timeout,
            deadline: Instant::now().checked_add(self.timeout),
        };
        let ended = exchange.run().await;
        let url = || call.url.clone();
        let (result, connected) = match ended {
            Ok(reply) => (Ok(reply), true),
            Err(Broken::Failed { reason, connected }) => {
                // The words of a TLS or HTTP/2 error may be the receiver's.
                let reason = harmless_reason(&reason, &secrets);
                (Err(ExportError::Connection { url: url(), reason }), connected)
            }
            Err(Broken::TimedOut) => {
                let timeout = self.timeout;
                let captured = connection.get();
                let connected = captured.is_some_and(|captured| captured.connection_metadata().is_some());
                (Err(ExportError::Timeout { url: url(), timeout }), connected)
            }
        };
        Attempt {
            result,
            secrets,
            connected,
        }
    }
}

impl Broken {
    /// No connection was made.
    pub(crate) fn before(reason: String) -> Self {
        Self::Failed {
            reason,
            connected: false,
        }
    }
}

impl Exchange<'_> {
    async fn run(self) -> Result<Reply, Broken> {
        let uri: Uri = self
            .call
            .url
            .parse()
            .map_err(|error: http::uri::InvalidUri| Broken::before(error.to_string()))?;
        match &self.call.by {
            By::Http(method) => self.follow(uri, method).await.map(Reply::Http),
            #[cfg(feature = "grpc")]
            By::Grpc => super::grpc::send(self, uri).await,
        }
    }

    /// Redirects that keep the method are followed on the same scheme, host and port only: the request carries a key.
    async fn follow(self, mut uri: Uri, method: &Method) -> Result<Answer, Broken> {
        let mut redirects = 0;
        loop {
            let answer = self.send_to(&uri, method).await?;
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

    async fn send_to(self, uri: &Uri, method: &Method) -> Result<Answer, Broken> {
        let mut request = Request::new(Full::new(self.call.encoded.body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        request.headers_mut().clone_from(&self.call.encoded.headers);
        let proxy = self.on.forwarding_proxy(uri);
        if let Some(value) = proxy.and_then(Proxy::authorization) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        self.sign(request.headers_mut());
        Ok(self.perform(request).await?.0)
    }

    /// The headers of every request. The key is set last: nothing can stand in its place.
    pub(crate) fn sign(self, headers: &mut HeaderMap) {
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.to.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(self.to.key_header.clone(), self.key.header_value(self.to.key_scheme));
        if planted(Fault::KeyShown)
            && let Some(key) = faults::previous(&headers[&self.to.key_header])
        {
            headers.insert("x-previous-key", key);
        }
    }

    /// Waits for something no longer than the request has time.
    async fn in_time<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// Sends one request, and reads the answer and its trailers.
    pub(crate) async fn perform(
        self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Answer, Option<HeaderMap>), Broken> {
        // A redirect is on the same host: the first connection says as much as the last.
        self.connection.get_or_init(|| capture_connection(&mut request));
        let response = self.in_time(self.on.client.request(request)).await;
        let response = response.ok_or(Broken::TimedOut)?.map_err(|error| Broken::Failed {
            connected: !error.is_connect(),
            reason: self.on.note_failure(&error),
        })?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let mut trailers = None;
        // The head is an answer, whatever becomes of the rest.
        let cut = loop {
            let frame = match self.in_time(incoming.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) => break Some(Cut::Broken(self.on.note_failure(&error))),
                Some(None) => break None,
                None => break Some(Cut::TimedOut(self.timeout)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let room = MAX_ANSWER_BYTES - body.len();
                    body.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        break Some(Cut::TooLarge);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        };
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.freeze(),
            cut,
        };
        Ok((answer, trailers))
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
