//! The HTTP client of the admin listener, for programs that operate a gateway, and of telemetry.

use std::error::Error;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest time for an answer: a flush may take 30 s.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Longest time between two parts of a stream: four heartbeats.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest body of an answer.
const MAX_ANSWER: usize = 64 << 20;

/// An error of a request to a gateway. Contains no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("{url}: {rule}")]
    Url {
        /// The URL.
        url: String,
        /// The broken rule.
        rule: &'static str,
    },
    /// The certificates of authorities cannot be read.
    #[error("cannot read certificates: {0}")]
    Certificates(String),
    /// No answer, or a broken one.
    #[error("{url} cannot be reached: {reason}")]
    Connection {
        /// Scheme, host and port.
        url: String,
        /// Cause of the failure.
        reason: String,
    },
    /// The answer is not complete in time.
    #[error("{url} does not answer within {limit:?}")]
    Timeout {
        /// Scheme, host and port.
        url: String,
        /// The limit.
        limit: Duration,
    },
}

/// An answer of a gateway, of any status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientAnswer {
    /// Status of the answer.
    pub status: StatusCode,
    /// Body of the answer, at most 64 MiB.
    pub body: Bytes,
}

/// An answer of a gateway that does not end, such as that of `/api/events`.
#[derive(Debug)]
pub struct ClientStream {
    url: String,
    status: StatusCode,
    body: Incoming,
}

/// A client of the admin listener of a gateway. Reads no environment variable and uses no proxy.
pub struct AdminClient {
    base: Uri,
    token: HeaderValue,
    http: HttpClient,
}

impl AdminClient {
    /// Creates a client for the URL of an admin listener, such as `http://127.0.0.1:4320`. `token`
    /// is the value of `Authorization`. `ca` is a PEM file with the authorities to trust instead of
    /// the platform's, and `identity` are PEM files with a certificate of the client and its key.
    /// Does not connect.
    ///
    /// # Errors
    /// [`ClientError::Url`] if the URL is not `http` or `https`, has more than a host and a port, or
    /// would send the token unencrypted to an address that is not loopback.
    /// [`ClientError::Certificates`] if there are none, or if a file cannot be used.
    pub fn new(
        url: &str,
        token: HeaderValue,
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, ClientError> {
        let refuse = |rule| ClientError::Url {
            url: url.escape_debug().take(200).collect(),
            rule,
        };
        let base: Uri = url.parse().map_err(|_| refuse("not a URL"))?;
        let is_https = base.scheme() == Some(&Scheme::HTTPS);
        if !is_https && base.scheme() != Some(&Scheme::HTTP) {
            return Err(refuse("expected http:// or https://"));
        }
        let has_user = base
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        if has_user || base.path() != "/" || base.query().is_some() {
            return Err(refuse("expected only a scheme, a host and a port"));
        }
        if !is_https && !is_loopback(&base) {
            return Err(refuse("http:// would send the token unencrypted; use https://"));
        }
        let http = HttpClient::new(is_https, ca, identity)?;
        Ok(Self { base, token, http })
    }

    /// Sends a `GET` request. `path` may have a query, and is percent-encoded.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer. An answer with an error status is none.
    pub async fn get(&self, path: &str) -> Result<ClientAnswer, ClientError> {
        self.send(Method::GET, path).await
    }

    /// Sends a `POST` request without a body. `path` may have a query, and is percent-encoded.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer. An answer with an error status is none.
    pub async fn post(&self, path: &str) -> Result<ClientAnswer, ClientError> {
        self.send(Method::POST, path).await
    }

    /// Sends a `GET` request for an answer that does not end.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer. An answer with an error status is none.
    pub async fn stream(&self, path: &str) -> Result<ClientStream, ClientError> {
        let request = self.request(Method::GET, path)?;
        let url = origin(request.uri());
        let (head, body) = self.http.start(request, TIMEOUT).await?.into_parts();
        let status = head.status;
        Ok(ClientStream { url, status, body })
    }

    async fn send(&self, method: Method, path: &str) -> Result<ClientAnswer, ClientError> {
        let request = self.request(method, path)?;
        let (head, body) = self.http.send(request, TIMEOUT, MAX_ANSWER).await?.into_parts();
        let status = head.status;
        Ok(ClientAnswer { status, body })
    }

    fn request(&self, method: Method, path: &str) -> Result<Request<Full<Bytes>>, ClientError> {
        let refuse = |rule| ClientError::Url {
            url: path.escape_debug().take(200).collect(),
            rule,
        };
        let path: PathAndQuery = path.parse().map_err(|_| refuse("not a path"))?;
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(path);
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| refuse("not a path"))?;
        request.headers_mut().insert(AUTHORIZATION, self.token.clone());
        Ok(request)
    }
}

impl ClientStream {
    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the next bytes, or `None` at the end. Not necessarily whole lines. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError`] if the connection breaks, or nothing arrives for a minute.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(STREAM_TIMEOUT, self.body.frame());
            let frame = frame.await.map_err(|_| ClientError::Timeout {
                url: self.url.clone(),
                limit: STREAM_TIMEOUT,
            })?;
            let Some(frame) = frame.transpose().map_err(|error| broken(&self.url, &error))? else {
                return Ok(None);
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// An HTTP/1.1 client that limits time and size.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpClient {
    /// Creates a client. Reads the authorities to trust from a file, or the platform's, if it may
    /// use TLS. `identity` are files with a certificate of the client and its key.
    ///
    /// # Errors
    /// [`ClientError::Certificates`] if there are none.
    pub(crate) fn new(
        may_use_tls: bool,
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has all cipher suites of the default versions");
        let config = match ca {
            Some(file) => builder.with_root_certificates(roots(file)?),
            None if may_use_tls => builder
                .with_platform_verifier()
                .map_err(|error| ClientError::Certificates(error.to_string()))?,
            None => builder.with_root_certificates(RootCertStore::empty()),
        };
        let config = match identity {
            Some((certificate, key)) => config
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| unusable(certificate, &error))?,
            None => config.with_no_client_auth(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`ClientError`] if there is none within the limits.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        max_answer: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let url = origin(request.uri());
        let sent = async {
            let (head, body) = self.start(request, limit).await?.into_parts();
            let body = Limited::new(body, max_answer).collect().await;
            let body = body.map_err(|error| broken(&url, error.as_ref()))?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        match timeout(limit, sent).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout { url, limit }),
        }
    }

    /// Sends a request and reads the head of its answer.
    async fn start(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Incoming>, ClientError> {
        let url = origin(request.uri());
        match timeout(limit, self.0.request(request)).await {
            Ok(answer) => answer.map_err(|error| broken(&url, &error)),
            Err(_) => Err(ClientError::Timeout { url, limit }),
        }
    }
}

fn unusable(file: &Path, reason: &dyn Display) -> ClientError {
    ClientError::Certificates(format!("{}: {reason}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|error| unusable(file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(file, &"no certificate in PEM"));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::Io(error) => unusable(file, &error),
        _ => unusable(file, &"no private key in PEM"),
    })
}

fn roots(file: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| unusable(file, &error))?;
    }
    Ok(roots)
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn origin(url: &Uri) -> String {
    let authority = url.authority().map(http::uri::Authority::as_str);
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or("http"),
        authority.unwrap_or_default()
    )
}

/// Returns an error with the messages of its causes. None of them contains a header.
fn broken(url: &str, error: &(dyn Error + 'static)) -> ClientError {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        reason = format!("{reason}: {cause}");
        next = cause.source();
    }
    ClientError::Connection {
        url: url.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests;
