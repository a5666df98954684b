//! The HTTP client of the admin listener, for programs that operate a gateway, and of telemetry.

use std::error::Error;
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
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
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
    /// the platform's. Does not connect.
    ///
    /// # Errors
    /// [`ClientError::Url`] if the URL is not `http` or `https`, has more than a host and a port, or
    /// would send the token unencrypted to an address that is not loopback.
    /// [`ClientError::Certificates`] if there are none.
    pub fn new(url: &str, token: HeaderValue, ca: Option<&Path>) -> Result<Self, ClientError> {
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
        let http = HttpClient::new(is_https, ca)?;
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

    /// Sends a `GET` request whose answer does not end.
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
    /// use TLS.
    ///
    /// # Errors
    /// [`ClientError::Certificates`] if there are none.
    pub(crate) fn new(may_use_tls: bool, ca: Option<&Path>) -> Result<Self, ClientError> {
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
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
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

fn roots(file: &Path) -> Result<RootCertStore, ClientError> {
    let fail = |reason: &dyn std::fmt::Display| ClientError::Certificates(format!("{}: {reason}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| fail(&error))? {
        let certificate = certificate.map_err(|error| fail(&error))?;
        roots.add(certificate).map_err(|error| fail(&error))?;
    }
    if roots.is_empty() {
        return Err(fail(&"no certificate in PEM"));
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const TOKEN: &str = "Bearer a-token-of-the-client";

    fn client(url: &str) -> Result<AdminClient, ClientError> {
        AdminClient::new(url, HeaderValue::from_static(TOKEN), None)
    }

    /// Starts a server that answers one request. Returns its URL and a task with the request.
    async fn server(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let served = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(connection.read_u8().await.expect("a head"));
            }
            connection.write_all(answer).await.expect("an open connection");
            String::from_utf8(head).expect("text")
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_request_carries_the_token_and_any_status_is_an_answer() {
        let (url, served) = server(b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}").await;
        let answer = client(&url)
            .expect("valid")
            .post("/api/reload?a=b")
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_ref()),
            (StatusCode::CONFLICT, b"{}".as_slice())
        );
        let request = served.await.expect("no panic");
        assert!(request.starts_with("POST /api/reload?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("authorization: {TOKEN}\r\n")), "{request}");
    }

    #[tokio::test]
    async fn a_stream_returns_what_arrives_until_it_ends() {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
        let (url, _served) = server(answer).await;
        let mut stream = client(&url)
            .expect("valid")
            .stream("/api/events")
            .await
            .expect("an answer");
        assert_eq!(stream.status(), StatusCode::OK);
        let mut read = Vec::new();
        while let Some(bytes) = stream.next().await.expect("unbroken") {
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, b"onetwo");
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_an_error_with_its_cause_and_no_token() {
        let (url, _served) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await;
        let error = client(&url)
            .expect("valid")
            .get("/api/config")
            .await
            .expect_err("cut off");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{url} cannot be reached: ")), "{text}");
        assert!(!format!("{error:?}").contains("a-token"), "{error:?}");
        let closed = client("http://127.0.0.1:9").expect("valid").get("/").await;
        let text = closed.expect_err("no listener").to_string();
        assert!(text.contains("refused"), "{text}");
    }

    #[tokio::test]
    async fn an_answer_beyond_the_limits_is_an_error() {
        let request = |url: &str| {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = url.parse().expect("a URL");
            request
        };
        let http = HttpClient::new(false, None).expect("no certificates");
        let (url, _served) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
        let large = http.send(request(&url), TIMEOUT, 8).await;
        assert!(matches!(large, Err(ClientError::Connection { .. })), "{large:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let silent = http.send(request(&url), Duration::from_millis(50), 8).await;
        assert!(matches!(silent, Err(ClientError::Timeout { .. })), "{silent:?}");
    }

    #[test]
    fn a_url_that_would_show_the_token_or_means_something_else_is_refused() {
        for url in [
            "http://127.0.0.1:4320",
            "http://[::1]:4320/",
            "http://localhost",
            "http://LOCALHOST:1",
        ] {
            assert!(client(url).is_ok(), "{url}");
        }
        for url in [
            "http://gateway.internal:4320",
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "ftp://127.0.0.1",
            "127.0.0.1:4320",
            "http://user:password@127.0.0.1",
            "http://127.0.0.1/api",
            "http://127.0.0.1/?a=b",
            "",
        ] {
            assert!(matches!(client(url), Err(ClientError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("ca.pem");
        let read = || AdminClient::new("https://gateway.internal", HeaderValue::from_static(TOKEN), Some(&file));
        assert!(matches!(read(), Err(ClientError::Certificates(_))), "there is no file");
        std::fs::write(&file, "no certificate").expect("written");
        assert!(
            matches!(read(), Err(ClientError::Certificates(_))),
            "there is no certificate"
        );
    }

    #[tokio::test]
    async fn only_a_certificate_of_the_given_authority_is_trusted() {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .expect("a usable certificate");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                // Fails for the client that does not trust the certificate.
                if let Ok(mut connection) = acceptor.accept(connection).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    drop(connection.write_all(answer).await);
                    drop(connection.shutdown().await);
                }
            }
        });
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, cert.pem()).expect("written");
        let trusting = AdminClient::new(&url, HeaderValue::from_static(TOKEN), Some(&file)).expect("valid");
        assert_eq!(trusting.get("/").await.expect("trusted").status, StatusCode::OK);
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&file, other.cert.pem()).expect("written");
        let wary = AdminClient::new(&url, HeaderValue::from_static(TOKEN), Some(&file)).expect("valid");
        assert!(matches!(wary.get("/").await, Err(ClientError::Connection { .. })));
    }
}
