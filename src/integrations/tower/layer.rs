//! The layer of a server.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Scheme;
use tower_layer::Layer;

use super::settings::Settings;
use super::{Fallback, TenantErrorCounts, TenantErrorKind, TenantService, TenantSource};
use crate::registry::TracerRegistry;
use crate::session::SessionBuilder;
use crate::tracer::TracerHandle;

/// Serves each request in its tenant's scope, under a span of the tenant's tracer.
///
/// For each tower service of `http::Request` to `http::Response`: axum's routers, tonic's services, hyper's by an adapter. The service's error
/// and its readiness stay as they are; the response's body becomes a [`TracedBody`](super::TracedBody).
///
/// # The span
/// Of kind server, under the remote span of the request's headers if the tenant's binding says `propagation.trust_remote_parent`. It is
/// current while the service is called, polled and dropped, and while the response's body is. Its name is the method, with the route
/// if [`route`](Self::route) returns one. It ends
///
/// - with the body's last frame, also of a stream that takes hours;
/// - with the response's head if no body follows: answers to `HEAD`, 1xx, 204, 304, a length of 0 outside gRPC, and a `CONNECT` that succeeded;
/// - when the service or the body fails: `error.type` is the Rust type's name, the status is error;
/// - when the service or the body panics: `error.type` is `panic`, the status is error, and the panic goes on;
/// - when the future or the body is dropped before, as servers do when the client is gone: `error.type` is `cancelled`, the status is error; for
///   gRPC the code is 1, which is not an error of a server.
///
/// Attributes are those of the stable conventions for HTTP: `http.request.method` (`_OTHER` for unknown methods, with
/// `http.request.method_original`), `url.path`, `url.scheme`, `http.route`, `server.address`, `server.port`, `user_agent.original`,
/// `network.protocol.version`, `http.response.status_code`. A status of 500 and above is an error, with the status as `error.type`. The query and
/// other headers are not recorded, because they may hold secrets. Texts are cut at 1 KiB.
///
/// A request with `content-type: application/grpc` that the service answers as a call of gRPC has `rpc.system`, `rpc.service`, `rpc.method` and
/// `rpc.grpc.status_code` too, and no status of HTTP where that is 200. The span's name is then the method's full name, unless the answer's head has
/// code 12 or 16: no method was reached, and the name would be the client's to choose. The codes 2, 4, 12, 13, 14 and 15 are errors, named in
/// `error.type`; a call that ends without a code, or with one that cannot be read, has 2.
///
/// # The session
/// None, unless [`session`](Self::session) starts one.
///
/// # The look-up
/// A tracer in the pool is found at once. Otherwise the look-up is [`get_async`](TracerRegistry::get_async): the request waits for it and blocks no
/// thread, and a request whose client goes away meanwhile leaves nothing behind. The waiting time is part of the span.
#[derive(Clone)]
pub struct TenantLayer {
    settings: Settings,
}

impl TenantLayer {
    /// Returns a layer that serves each request for the tenant that `source` finds, without sessions. It refuses requests without a tracer
    /// ([`TenantErrorKind`] has the statuses).
    pub fn new(registry: TracerRegistry, source: TenantSource) -> Self {
        Self {
            settings: Settings::new(registry, source),
        }
    }

    /// Sets what to do with requests that have no tracer of their own because of this kind of error.
    pub fn on(mut self, kind: TenantErrorKind, fallback: Fallback) -> Self {
        self.settings.set(kind, fallback);
        self
    }

    /// Starts a session for each request for which the closure returns one. It ends with the request's span; work that goes on after that is not
    /// in it any more.
    ///
    /// Not called for a request that is in a session already, by an id in its headers that the tenant's binding accepts
    /// (`propagation.session_id`).
    ///
    /// ```
    /// # use tracer_registry::tower::TenantLayer;
    /// # fn demo(layer: TenantLayer) {
    /// let layer = layer.session(|tracer, request| Some(tracer.session("request").metadata("path", request.uri.path())));
    /// # }
    /// ```
    pub fn session<F>(mut self, session: F) -> Self
    where
        F: Fn(&TracerHandle, &Parts) -> Option<SessionBuilder> + Send + Sync + 'static,
    {
        self.settings.session = Some(Arc::new(session));
        self
    }

    /// Sets how to find a request's route, such as `/orders/{id}`. It becomes `http.route`, and part of the span's name.
    ///
    /// In axum that is `request.extensions.get::<MatchedPath>().map(MatchedPath::as_str)`. It is present if the layer is added by
    /// `Router::layer`, and not if the layer is around the whole router.
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: Fn(&Parts) -> Option<&str> + Send + Sync + 'static,
    {
        self.settings.route = Some(Arc::new(route));
        self
    }

    /// Sets `url.scheme` of requests that do not state it, which are those of HTTP/1. Default: `http`. Set `https` for a service behind a proxy
    /// that ends TLS.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.settings.scheme = scheme;
        self
    }

    /// Sets whether the scope of a request ends with its span, also for work that the request leaves behind. Default: false.
    ///
    /// Such work, as a task that is spawned in the request or an actor that the first request starts, takes the request's scope along. What
    /// it traces by the current scope after the request goes to the request's tenant, as long as it runs. With `true` that is not recorded
    /// and is counted ([`UnroutedStatus::ended_requests`](crate::status::UnroutedStatus::ended_requests)), and
    /// [`TracerRegistry::current`] is `None` there. What is traced by a handle still goes to its tracer, and so does
    /// what is traced in a scope that a handle enters after the end. A scope that the tenant's own handle enters within the request is part of the
    /// request.
    pub fn scope_ends_with_request(mut self, ends: bool) -> Self {
        self.settings.scope_ends_with_request = ends;
        self
    }

    /// Returns how many requests had no tracer of their own, by reason: of this layer, its clones and all their services.
    pub fn errors(&self) -> TenantErrorCounts {
        self.settings.counts.snapshot()
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService::new(inner, Arc::new(self.settings.clone()))
    }
}

impl fmt::Debug for TenantLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLayer")
            .field("source", &self.settings.source)
            .field("errors", &self.errors())
            .finish_non_exhaustive()
    }
}
