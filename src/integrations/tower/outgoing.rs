//! The client layer, which propagates the trace of the current scope.

use std::borrow::Cow;
use std::task::{Context, Poll};

use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::Body;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use tower_layer::Layer;
use tower_service::Service;

use super::authority::Authority;
use super::conventions::{self, FULL_URL};
use super::exchange::Exchange;
use super::{RunningFuture, TracedBody, grpc};
use crate::context;
use crate::registry::TracerRegistry;
use crate::tracer::TracerHandle;

/// Writes the trace of the current scope into requests. Wraps any tower client of `http::Request`,
/// such as hyper-util's client or a tonic channel.
///
/// In a tracer's scope it replaces `traceparent`, `tracestate` and `baggage` of the request by
/// those of that tracer ([`TracerHandle::inject_headers`]). Outside any scope it leaves the request
/// unchanged.
///
/// It creates spans only with [`with_spans`](Self::with_spans). Without, the server's span is a
/// child of the current one.
///
/// The scope is the current one when the service is called. The request's future runs in that
/// scope.
#[derive(Clone, Copy, Debug, Default)]
pub struct PropagationLayer {
    spans: bool,
}

/// A client whose requests carry the trace of the current scope. Created by [`PropagationLayer`].
#[derive(Clone, Debug)]
pub struct PropagationService<S> {
    inner: S,
    spans: bool,
}

impl PropagationLayer {
    /// Creates a layer that writes headers and creates no spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also creates a client span for each request in a scope. It ends with the response body or
    /// its drop.
    ///
    /// The span name is the method. Attributes: `http.request.method`, `server.address`,
    /// `server.port`, `url.full` without user, password, query and fragment,
    /// `http.response.status_code`. A status of 400 or above is an error, with the status as
    /// `error.type`. So is a request that fails or is dropped before its response arrives
    /// (`cancelled`). gRPC calls are recorded as by [`TenantLayer`](super::TenantLayer), except
    /// that each code other than 0 is an error.
    pub fn with_spans(mut self) -> Self {
        self.spans = true;
        self
    }
}

impl<S> Layer<S> for PropagationLayer {
    type Service = PropagationService<S>;

    fn layer(&self, inner: S) -> PropagationService<S> {
        PropagationService {
            inner,
            spans: self.spans,
        }
    }
}

impl<S, B, R> Service<Request<B>> for PropagationService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = RunningFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> RunningFuture<S::Future> {
        let tracer = TracerRegistry::current();
        let exchange = tracer.as_ref().filter(|_| self.spans);
        let exchange = exchange.map(|tracer| open(tracer, &request));
        let current = exchange.as_ref().map(|exchange| exchange.context().clone());
        let cx = current.unwrap_or_else(context::current);
        RunningFuture::start(cx, exchange, || {
            if let Some(tracer) = tracer {
                tracer.inject_headers(request.headers_mut());
            }
            self.inner.call(request)
        })
    }
}

fn open<B>(tracer: &TracerHandle, request: &Request<B>) -> Exchange {
    let uri = request.uri();
    let is_grpc = grpc::is_grpc(request.headers());
    let call = grpc::method_of(uri.path()).filter(|_| is_grpc);
    let mut attributes = Vec::with_capacity(8);
    let name: Cow<'static, str> = if let Some(call) = call {
        attributes.extend(conventions::grpc_call(call));
        conventions::grpc_span_name(uri.path()).into()
    } else {
        conventions::add_method(&mut attributes, request.method());
        attributes.extend(full_url(uri).map(|url| KeyValue::new(FULL_URL, url)));
        conventions::method_in_name(request.method()).into()
    };
    let host = uri.authority().map(|authority| without_user(authority.as_str()));
    if let Some(server) = host.and_then(Authority::parse) {
        conventions::add_server(&mut attributes, server, default_port(uri));
    }
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Client)
        .with_attributes(attributes);
    let open = tracer.open(builder, &context::current());
    Exchange::of_client(open, is_grpc, request.method().clone())
}

/// Returns the URL without possible secrets: user, password, query.
fn full_url(uri: &Uri) -> Option<String> {
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
    let host = without_user(authority);
    Some(conventions::cut(&format!("{scheme}://{host}{}", uri.path())))
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn default_port(uri: &Uri) -> Option<u16> {
    let scheme = uri.scheme()?;
    if *scheme == Scheme::HTTPS {
        return Some(443);
    }
    (*scheme == Scheme::HTTP).then_some(80)
}
