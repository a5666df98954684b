//! The server layer.

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
/// Wraps any tower service from `http::Request` to `http::Response`: axum routers, tonic services,
/// hyper services through an adapter. Readiness and errors of the service pass through. The
/// response body becomes a [`TracedBody`](super::TracedBody).
///
/// # Span
/// The span has kind server. Its parent is the remote span of the request headers if the tenant's
/// binding sets `propagation.trust_remote_parent`. It is current while the service and the response
/// body are called, polled and dropped. Its name is the method, followed by the route if
/// [`route`](Self::route) returns one. It ends
///
/// - with the last frame of the body, however long the stream takes;
/// - with the response head if no body follows: responses to `HEAD`, 1xx, 204, 304, length 0
///   outside gRPC, and a successful `CONNECT`;
/// - when the service or the body fails: `error.type` is the Rust type name, the status is error;
/// - when the service or the body panics: `error.type` is `panic`, the status is error, and the
///   panic continues;
/// - when the future or the body is dropped earlier, as servers do after a disconnect: `error.type`
///   is `cancelled`, the status is error. For gRPC the code is 1, which is not a server error.
///
/// Attributes follow the stable semantic conventions for HTTP: `http.request.method` (`_OTHER` for
/// unknown methods, with `http.request.method_original`), `url.path`, `url.scheme`, `http.route`,
/// `server.address`, `server.port`, `user_agent.original`, `network.protocol.version`,
/// `http.response.status_code`. A status of 500 or above is an error, with the status as
/// `error.type`. The query and other headers are not recorded, because they may contain secrets.
/// Texts are truncated to 1 KiB.
///
/// A request with `content-type: application/grpc` that the service answers as a gRPC call also has
/// `rpc.system`, `rpc.service`, `rpc.method` and `rpc.grpc.status_code`, and no HTTP status if that
/// is 200. The span name is then the full method name. With code 12 or 16 in the response head it
/// stays the HTTP name: no method was reached, and the client could choose any name. The codes 2,
/// 4, 12, 13, 14 and 15 are errors, named in `error.type`. A call without a readable code counts as
/// 2.
///
/// # Session
/// None, unless [`session`](Self::session) starts one.
///
/// # Look-up
/// A tracer in the pool is found at once. Otherwise the request awaits
/// [`get_async`](TracerRegistry::get_async), which blocks no thread and leaves nothing behind if it
/// is dropped. The wait is part of the span.
#[derive(Clone)]
pub struct TenantLayer {
    settings: Settings,
}

impl TenantLayer {
    /// Creates a layer that serves each request for the tenant that `source` reads, without
    /// sessions. Requests without a tracer are refused ([`TenantErrorKind`] lists the statuses).
    pub fn new(registry: TracerRegistry, source: TenantSource) -> Self {
        Self {
            settings: Settings::new(registry, source),
        }
    }

    /// Sets the fallback for requests without a tracer because of this kind of error.
    pub fn on(mut self, kind: TenantErrorKind, fallback: Fallback) -> Self {
        self.settings.set(kind, fallback);
        self
    }

    /// Starts the session that the closure returns for a request, if any. The session ends with the
    /// span of the request; later work does not carry it.
    ///
    /// The closure is not called if the request headers already carry a session id that the
    /// tenant's binding accepts (`propagation.session_id`).
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

    /// Sets how to read a request's route, such as `/orders/{id}`. It becomes `http.route` and part
    /// of the span name.
    ///
    /// In axum, use `request.extensions.get::<MatchedPath>().map(MatchedPath::as_str)`. It is
    /// present if `Router::layer` adds this layer, and absent if this layer wraps the whole router.
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: Fn(&Parts) -> Option<&str> + Send + Sync + 'static,
    {
        self.settings.route = Some(Arc::new(route));
        self
    }

    /// Sets `url.scheme` for requests without a scheme in their URI, as in HTTP/1. Default: `http`.
    /// Set `https` for a service behind a proxy that terminates TLS.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.settings.scheme = scheme;
        self
    }

    /// Sets whether the scope of a request ends with its span, also for work that outlives the
    /// request. Default: false.
    ///
    /// A task or an actor that a request starts keeps the request's scope, and traces to the
    /// request's tenant as long as it runs. With `true`, spans by that scope are not recorded after
    /// the request. They are counted in
    /// [`UnroutedStatus::ended_requests`](crate::status::UnroutedStatus::ended_requests), and
    /// [`TracerRegistry::current`] is `None` there. Spans started by a handle, and spans in a scope
    /// that a handle enters after the end, still go to the handle's tracer. A scope that the
    /// tenant's own handle enters within the request ends with the request.
    pub fn scope_ends_with_request(mut self, ends: bool) -> Self {
        self.settings.scope_ends_with_request = ends;
        self
    }

    /// Returns the number of requests without a tracer, by reason, over this layer, its clones and
    /// all their services.
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
