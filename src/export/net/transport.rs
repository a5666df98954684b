//! One request on a lane's connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use super::connections::{ClientLease, ConnectionKey, ConnectionPool, Connections};
use super::exchange::{Answer, Broken, By, Call, Exchange, Reply};
#[cfg(feature = "grpc")]
use super::grpc;
use super::proxy::Proxy;
use super::receiver_text::harmless_reason;
use super::tls::TlsError;
use crate::backend::Destination;
use crate::config::Protocol;
use crate::export::error::ExportError;
use crate::secret::{ApiKey, SentSecrets};

/// How often a request may be sent elsewhere on the same host.
const MAX_REDIRECTS: usize = 3;

/// What became of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) result: Result<Reply, ExportError>,
    /// What went out with it, and is not shown where the receiver repeats it.
    pub(crate) secrets: SentSecrets<'a>,
    /// A connection came about, whatever happened on it.
    pub(crate) connected: bool,
}

/// Sends requests, each on the connections of its lane. No proxy is used that the configuration does not name, whatever variables of the
/// process say: it would see keys that were not meant for it.
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

    /// The connections that lanes which go this way share.
    pub(crate) fn connections(&self, way: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        self.pool.connections(way)
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
        let ended = run(exchange).await;
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

async fn run(exchange: Exchange<'_>) -> Result<Reply, Broken> {
    let uri: Uri = exchange
        .call
        .url
        .parse()
        .map_err(|error: http::uri::InvalidUri| Broken::before(error.to_string()))?;
    match &exchange.call.by {
        By::Http(method) => follow(exchange, uri, method).await.map(Reply::Http),
        #[cfg(feature = "grpc")]
        By::Grpc => grpc::send(exchange, uri).await,
    }
}

/// Redirects that keep the method are followed on the same scheme, host and port only: the request carries a key.
async fn follow(exchange: Exchange<'_>, mut uri: Uri, method: &Method) -> Result<Answer, Broken> {
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

async fn send_to(exchange: Exchange<'_>, uri: &Uri, method: &Method) -> Result<Answer, Broken> {
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
