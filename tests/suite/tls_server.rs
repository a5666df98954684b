//! A server that speaks TLS and remembers who requests it for what, and authorities that it and its clients have their certificates of.

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

/// An answer, with the trailers that gRPC has.
type Answered = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// One that certificates are had of.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// What a server does.
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    /// The authorities of the client certificates that it demands; none are demanded where there is nothing.
    pub(crate) clients: Option<String>,
    /// What it speaks, by ALPN; HTTP/1.1 without it.
    pub(crate) alpn: Vec<&'static str>,
    /// Closes each connection after one answer.
    pub(crate) one_request_each: bool,
    /// Never reads nor answers requests whose key has this in it, until it is let go.
    pub(crate) hang: Option<&'static str>,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRequest {
    /// Connections are counted from 0.
    pub(crate) connection: usize,
    pub(crate) version: Version,
    /// The certificate that the client showed.
    pub(crate) client: Option<Vec<u8>>,
    /// The header with the key.
    pub(crate) key: String,
}

pub(crate) struct TlsServer {
    pub(crate) url: String,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    options: TlsOptions,
    requests: Mutex<Vec<ReceivedRequest>>,
    lets_go: AtomicBool,
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

    /// A certificate for a host or a client of that name.
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
        let seen = Arc::new(Seen {
            options,
            ..Seen::default()
        });
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&seen);
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
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.seen.requests.lock().expect("not poisoned").clone()
    }

    /// From here on, nothing hangs.
    pub(crate) fn let_go(&self) {
        self.seen.lets_go.store(true, Ordering::SeqCst);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there is a failed test already.
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
        .expect("they fit each other");
    config.alpn_protocols = options.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn accept(listener: &tokio::net::TcpListener, acceptor: &TlsAcceptor, seen: &Arc<Seen>) {
    let mut connections = 0;
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = acceptor.clone();
        tokio::spawn(serve(stream, acceptor, connections, Arc::clone(seen)));
        connections += 1;
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, connection: usize, seen: Arc<Seen>) {
    // What the client makes of a refused handshake is what the tests look at.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let (_, tls) = stream.get_ref();
    let is_h2 = tls.alpn_protocol() == Some(b"h2");
    let client = tls.peer_certificates().map(|chain| chain[0].to_vec());
    let answering = service_fn(move |request| answer(request, connection, client.clone(), Arc::clone(&seen)));
    let io = TokioIo::new(stream);
    // A connection that breaks is the client's to tell.
    if is_h2 {
        // So little that one request that is not read keeps all others from being read.
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
    seen: Arc<Seen>,
) -> Result<Response<Answered>, Infallible> {
    let key = request.headers().get(AUTHORIZATION).map(HeaderValue::to_str);
    let key = key.expect("a key").expect("text").to_owned();
    let hangs = seen.options.hang.is_some_and(|hangs| key.contains(hangs)) && !seen.lets_go.load(Ordering::SeqCst);
    seen.requests.lock().expect("not poisoned").push(ReceivedRequest {
        connection,
        version: request.version(),
        client,
        key,
    });
    if hangs {
        // Holds on to the body, unread.
        let _held = request;
        std::future::pending::<()>().await;
        unreachable!("it hangs");
    }
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    drop(request.into_body().collect().await);
    let is_grpc = content_type.as_ref().is_some_and(|value| value == "application/grpc");
    // An empty message, and that all is well.
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
    if seen.options.one_request_each {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
