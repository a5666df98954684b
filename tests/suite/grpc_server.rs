//! A gRPC server with scripted, possibly malformed responses.

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
type ScriptedBody = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// One step of a script.
#[derive(Clone)]
pub(crate) enum Step {
    Reply {
        status: u16,
        headers: Headers,
        body: Vec<u8>,
        trailers: Option<Headers>,
    },
    /// Resets the stream without a response.
    Reset,
}

pub(crate) struct GrpcServer {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    script: Vec<Step>,
    requests: AtomicUsize,
    headers: Mutex<Vec<HeaderMap>>,
}

impl Step {
    /// A successful response with `frame` as its message.
    pub(crate) fn success(frame: &[u8]) -> Self {
        Self::Reply {
            status: 200,
            headers: vec![("content-type", "application/grpc")],
            body: frame.to_vec(),
            trailers: Some(vec![("grpc-status", "0")]),
        }
    }

    /// An HTML page, which is not gRPC.
    pub(crate) fn page(status: u16) -> Self {
        Self::Reply {
            status,
            headers: vec![("content-type", "text/html")],
            body: b"<html>no gRPC here</html>".to_vec(),
            trailers: None,
        }
    }
}

impl GrpcServer {
    /// Starts a server that plays the script and then repeats its last step.
    pub(crate) fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(State {
            script,
            requests: AtomicUsize::new(0),
            headers: Mutex::default(),
        });
        let for_thread = Arc::clone(&state);
        // Detached: no test waits for this thread.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(accept(listener, for_thread));
        });
        Self { url, state }
    }

    /// Returns the headers of the received requests, in order.
    pub(crate) fn requests(&self) -> Vec<HeaderMap> {
        self.state.headers.lock().expect("not poisoned").clone()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let state = Arc::clone(&state);
        let service = service_fn(move |request| respond(request, Arc::clone(&state)));
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        // The client reports a broken connection.
        tokio::spawn(async { drop(serving.await) });
    }
}

async fn respond(request: Request<Incoming>, state: Arc<State>) -> Result<Response<ScriptedBody>, &'static str> {
    let (parts, body) = request.into_parts();
    drop(body.collect().await);
    state.headers.lock().expect("not poisoned").push(parts.headers);
    let index = state
        .requests
        .fetch_add(1, Ordering::SeqCst)
        .min(state.script.len() - 1);
    let Step::Reply {
        status,
        headers,
        body,
        trailers,
    } = state.script[index].clone()
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
