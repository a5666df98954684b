//! A server of gRPC that answers by a script, for what no well-behaved receiver answers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

type Headers = Vec<(&'static str, &'static str)>;
type Answered = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// One answer of a script.
#[derive(Clone)]
pub(crate) enum Says {
    Answer {
        status: u16,
        headers: Headers,
        body: Vec<u8>,
        trailers: Option<Headers>,
    },
    /// The stream is reset without an answer.
    Reset,
}

pub(crate) struct GrpcServer {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

struct Seen {
    script: Vec<Says>,
    asked: AtomicUsize,
    headers: Mutex<Vec<HeaderMap>>,
}

impl Says {
    /// That all is well, with this frame as its message.
    pub(crate) fn taken(frame: &[u8]) -> Self {
        Self::Answer {
            status: 200,
            headers: vec![("content-type", "application/grpc")],
            body: frame.to_vec(),
            trailers: Some(vec![("grpc-status", "0")]),
        }
    }

    /// Something that is not gRPC.
    pub(crate) fn page(status: u16) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type", "text/html")],
            body: b"<html>no gRPC here</html>".to_vec(),
            trailers: None,
        }
    }
}

impl GrpcServer {
    /// Answers what is asked in the order of the script, and then as at its end.
    pub(crate) fn start(script: Vec<Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Seen {
            script,
            asked: AtomicUsize::new(0),
            headers: Mutex::default(),
        });
        let for_thread = Arc::clone(&seen);
        // Ends with the process: it does nothing that a test waits for.
        std::thread::spawn(move || {
            let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
            reactor.expect("a reactor").block_on(accept(listener, for_thread));
        });
        Self { url, seen }
    }

    /// The headers of what was asked, in order.
    pub(crate) fn asked(&self) -> Vec<HeaderMap> {
        self.seen.headers.lock().expect("not poisoned").clone()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let seen = Arc::clone(&seen);
        let answering = service_fn(move |request| answer(request, Arc::clone(&seen)));
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answering);
        // A connection that breaks is the client's to tell.
        tokio::spawn(async { drop(serving.await) });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Answered>, &'static str> {
    let (parts, body) = request.into_parts();
    drop(body.collect().await);
    seen.headers.lock().expect("not poisoned").push(parts.headers);
    let at = seen.asked.fetch_add(1, Ordering::SeqCst).min(seen.script.len() - 1);
    let Says::Answer {
        status,
        headers,
        body,
        trailers,
    } = seen.script[at].clone()
    else {
        return Err("the stream is reset");
    };
    let trailers = trailers.map(|trailers| Ok(header_map(trailers)));
    let mut response = Response::new(Full::new(body.into()).with_trailers(ready(trailers)));
    *response.status_mut() = status.try_into().expect("a status");
    *response.headers_mut() = header_map(headers);
    Ok(response)
}

fn header_map(headers: Headers) -> HeaderMap {
    let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    headers.into_iter().map(header).collect()
}
