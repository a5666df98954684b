//! A TLS server that records requests, and certificate authorities for it and its clients.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A response body with trailers, which gRPC needs.
type ResponseBody = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate as PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Behaviour of the server.
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    /// PEM of the authorities of required client certificates. With `None`, no certificate is
    /// required.
    pub(crate) clients: Option<String>,
    /// Protocols offered by ALPN. Empty: HTTP/1.1.
    pub(crate) alpn: Vec<&'static str>,
    /// Closes each connection after one response.
    pub(crate) one_request_each: bool,
    /// Never reads or answers requests whose key contains this text, until `stop_hanging` is
    /// called.
    pub(crate) hang: Option<&'static str>,
}

/// A received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRequest {
    /// Index of the connection, from 0.
    pub(crate) connection: usize,
    pub(crate) version: Version,
    /// The client certificate as DER.
    pub(crate) client: Option<Vec<u8>>,
    /// The header with the API key.
    pub(crate) key: String,
}

pub(crate) struct TlsServer {
    pub(crate) url: String,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    options: TlsOptions,
    requests: Mutex<Vec<ReceivedRequest>>,
    no_longer_hangs: AtomicBool,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Issues a certificate for a host or a client with this name.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        Issued {
            cert: params.signed_by(&key, &self.issuer).expect("signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    pub(crate) fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.cert.as_bytes())
            .expect("PEM")
            .to_vec()
    }
}

impl TlsServer {
    pub(crate) fn start(identity: &Issued, options: TlsOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let acceptor = TlsAcceptor::from(Arc::new(settings(identity, &options)));
        let state = Arc::new(State {
            options,
            ..State::default()
        });
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
            reactor.expect("a reactor").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    () = accept(&listener, &acceptor, &for_thread) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            url,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.requests.lock().expect("not poisoned").clone()
    }

    /// Stops hanging: later requests are answered.
    pub(crate) fn stop_hanging(&self) {
        self.state.no_longer_hangs.store(true, Ordering::SeqCst);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, the test has already failed.
            let _ = thread.join();
        }
    }
}

fn settings(identity: &Issued, options: &TlsOptions) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    let builder = match &options.clients {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
                roots.add(authority.expect("PEM")).expect("a certificate");
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("an authority"))
        }
    };
    let certificate = CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
    let mut config = builder
        .with_single_cert(vec![certificate], key)
        .expect("the key belongs to the certificate");
    config.alpn_protocols = options.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn accept(listener: &tokio::net::TcpListener, acceptor: &TlsAcceptor, state: &Arc<State>) {
    let mut connections = 0;
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = acceptor.clone();
        tokio::spawn(serve(stream, acceptor, connections, Arc::clone(state)));
        connections += 1;
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, connection: usize, state: Arc<State>) {
    // The tests check the client's error after a refused handshake.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let (_, tls) = stream.get_ref();
    let is_h2 = tls.alpn_protocol() == Some(b"h2");
    let client = tls.peer_certificates().map(|chain| chain[0].to_vec());
    let answering = service_fn(move |request| answer(request, connection, client.clone(), Arc::clone(&state)));
    let io = TokioIo::new(stream);
    // The client reports a broken connection.
    if is_h2 {
        // Windows so small that one unread request blocks all others on the connection.
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        drop(server.serve_connection(io, answering).await);
    } else {
        drop(http1::Builder::new().serve_connection(io, answering).await);
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    client: Option<Vec<u8>>,
    state: Arc<State>,
) -> Result<Response<ResponseBody>, Infallible> {
    let key = request.headers().get(AUTHORIZATION).map(HeaderValue::to_str);
    let key = key.expect("a key").expect("text").to_owned();
    let hangs =
        state.options.hang.is_some_and(|hangs| key.contains(hangs)) && !state.no_longer_hangs.load(Ordering::SeqCst);
    state.requests.lock().expect("not poisoned").push(ReceivedRequest {
        connection,
        version: request.version(),
        client,
        key,
    });
    if hangs {
        // Keeps the body unread.
        let _held = request;
        std::future::pending::<()>().await;
        unreachable!("the request hangs");
    }
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    drop(request.into_body().collect().await);
    let is_grpc = content_type.as_ref().is_some_and(|value| value == "application/grpc");
    // gRPC: an empty message and status OK.
    let (body, trailers) = if is_grpc {
        let name = HeaderName::from_static("grpc-status");
        let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static("0"))]);
        (Bytes::from_static(&[0; 5]), Some(Ok(trailers)))
    } else {
        (Bytes::new(), None)
    };
    let mut response = Response::new(Full::new(body).with_trailers(ready(trailers)));
    if let Some(content_type) = content_type.filter(|_| is_grpc) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    if state.options.one_request_each {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
