//! Requests through the tower layers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use tower_layer::Layer as _;
use tower_service::Service;

use super::super::run::current;
use super::super::subject::{self, Active, Work};
use tracer_registry::selector::SelectorKind;
use tracer_registry::tower::{PropagationLayer, TenantLayer, TenantService, TenantSource};
use tracer_registry::{Selector, TracerRegistry};

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// Services of a registry under a tenant layer.
pub(in super::super) struct Server {
    by_header: TenantService<Handler>,
    by_selector: TenantService<Handler>,
}

/// Body of a request: the work to do.
struct Job(Work);

/// Does the work of a request.
#[derive(Clone)]
struct Handler;

/// Returns the headers of the request in the response.
struct Echo;

/// Route of a request, which names its span.
#[derive(Clone)]
struct Route(String);

impl Server {
    pub(in super::super) fn new(registry: &TracerRegistry) -> Self {
        let under = |source| {
            let layer = TenantLayer::new(registry.clone(), source);
            let layer = layer.route(|request| request.extensions.get().map(|Route(route)| route.as_str()));
            layer.layer(Handler)
        };
        Self {
            by_header: under(TenantSource::header(TENANT)),
            by_selector: under(TenantSource::from_fn(|request| {
                Ok(request.extensions.get::<Selector>().cloned())
            })),
        }
    }

    pub(in super::super) fn serve(
        &self,
        selector: &Selector,
        asked: subject::Request,
        work: Work,
    ) -> BoxFuture<'static, ()> {
        let mut request = Request::new(Job(work));
        request.extensions_mut().insert(Route(asked.name));
        for (name, value) in &asked.headers {
            let header = (HeaderName::try_from(name), value.parse());
            if let (Ok(name), Ok(value)) = header {
                request.headers_mut().insert(name, value);
            }
        }
        let mut service = if let Some((SelectorKind::Tenant, name)) = selector.single() {
            let slug = name.parse().expect("names are valid header values");
            request.headers_mut().insert(TENANT, slug);
            self.by_header.clone()
        } else {
            request.extensions_mut().insert(selector.clone());
            self.by_selector.clone()
        };
        async move {
            let Ok(()) = poll_fn(|task| service.poll_ready(task)).await;
            let Ok(response) = service.call(request).await;
            if asked.read {
                let Ok(_read) = response.into_body().collect().await;
            }
        }
        .boxed()
    }
}

/// Returns the headers that a client under a propagation layer sends. The layer must replace the
/// stale headers of the request.
pub(in super::super) fn sent() -> HashMap<String, String> {
    let mut request = Request::new(());
    for name in ["traceparent", "tracestate", "baggage"] {
        let stale = format!("{name}=stale").parse().expect("text");
        request.headers_mut().insert(name, stale);
    }
    let sent = PropagationLayer::new().layer(Echo).call(request).now_or_never();
    let echoed = sent
        .map(|Ok(response)| response.into_parts().0.headers)
        .unwrap_or_default();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    echoed
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

impl Service<Request<Job>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Job>) -> Self::Future {
        let Job(work) = request.into_body();
        async move {
            work(Active::Context(current())).await;
            Ok(Response::new(Full::from("done")))
        }
        .boxed()
    }
}

impl Service<Request<()>> for Echo {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        let headers: &mut HeaderMap = response.headers_mut();
        headers.clone_from(request.headers());
        ready(Ok(response))
    }
}
