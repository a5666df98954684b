//! Sends one request on a lane's connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use super::connections::{ClientLease, ConnectionKey, ConnectionPool, Connections};
use super::exchange::{Answer, Call, CallKind, Exchange, ExchangeError, Reply};
#[cfg(feature = "grpc")]
use super::grpc;
use super::proxy::Proxy;
use super::receiver_text::sanitize_reason;
use super::tls::TlsError;
use crate::backend::Destination;
use crate::config::Protocol;
use crate::export::error::ExportError;
use crate::secret::{ApiKey, SentSecrets};

/// Most redirects of a request.
const MAX_REDIRECTS: usize = 3;

/// Result of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) result: Result<Reply, ExportError>,
    /// Secrets sent with the request, which must not be shown.
    pub(crate) secrets: SentSecrets<'a>,
    /// Whether a connection was opened.
    pub(crate) connected: bool,
}

/// Sends requests on the connections of their lanes. Ignores proxy environment variables: only a
/// configured proxy may see keys.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pool: Arc<ConnectionPool>,
    timeout: Duration,
}

impl Transport {
    pub(crate) fn new(timeout: Duration, protocol: Protocol, strict_permissions: bool) -> Self {
        Self {
            pool: ConnectionPool::new(
                timeout.saturating_mul(2),
                protocol == Protocol::Grpc,
                strict_permissions,
            ),
            timeout,
        }
    }

    /// Returns the connections for a key, creating them if needed.
    pub(crate) fn connections(&self, key: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        self.pool.connections(key)
    }

    /// Sends once. `key` is the key of the lane that `call` belongs to.
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
        let ended = run(exchange).await;
        let url = || call.url.clone();
        let (result, connected) = match ended {
            Ok(reply) => (Ok(reply), true),
            Err(ExchangeError::Failed { reason, connected }) => {
                // A TLS or HTTP/2 error may include the receiver's text.
                let reason = sanitize_reason(&reason, &secrets);
                (Err(ExportError::Connection { url: url(), reason }), connected)
            }
            Err(ExchangeError::TimedOut) => {
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

async fn run(exchange: Exchange<'_>) -> Result<Reply, ExchangeError> {
    let uri: Uri = exchange
        .call
        .url
        .parse()
        .map_err(|error: http::uri::InvalidUri| ExchangeError::before_connecting(error.to_string()))?;
    match &exchange.call.kind {
        CallKind::Http(method) => follow(exchange, uri, method).await.map(Reply::Http),
        #[cfg(feature = "grpc")]
        CallKind::Grpc => grpc::send(exchange, uri).await,
    }
}

/// Sends a request and follows 307 and 308 on the same scheme, host and port, because the request
/// carries a key.
async fn follow(exchange: Exchange<'_>, mut uri: Uri, method: &Method) -> Result<Answer, ExchangeError> {
    let mut redirects = 0;
    loop {
        let answer = send_to(exchange, &uri, method).await?;
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

async fn send_to(exchange: Exchange<'_>, uri: &Uri, method: &Method) -> Result<Answer, ExchangeError> {
    let mut request = Request::new(Full::new(exchange.call.encoded.body.clone()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    request.headers_mut().clone_from(&exchange.call.encoded.headers);
    let proxy = exchange.on.forwarding_proxy(uri);
    if let Some(value) = proxy.and_then(Proxy::authorization) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    exchange.sign(request.headers_mut());
    Ok(exchange.perform(request).await?.0)
}

/// Returns the target of a redirect if it is on the same scheme, host and port.
fn same_host(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let to: Uri = headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    let Some(authority) = to.authority() else {
        // Most servers send a path without host.
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
