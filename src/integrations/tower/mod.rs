//! Tower layers: serve each request in its tenant's scope, and propagate the trace of the current
//! scope.
//!
//! [`TenantLayer`] wraps any tower service for HTTP: axum, hyper, tonic. It reads the tenant from
//! the request ([`TenantSource`]), looks the tracer up without blocking a thread, and runs the
//! service in that tracer's scope under a server span. The span ends with the response body.
//! [`PropagationLayer`] wraps a client: its requests carry the trace of the current scope only.
//!
//! ```
//! use http::header::HeaderName;
//! use http::{Request, Response, StatusCode};
//! use tower_layer::Layer;
//! use tracer_registry::TracerRegistry;
//! use tracer_registry::tower::{Fallback, TenantLayer, TenantSource, TenantErrorKind};
//!
//! # fn demo<S: tower_service::Service<Request<String>, Response = Response<String>>>(registry: TracerRegistry, service: S) {
//! let layer = TenantLayer::new(registry, TenantSource::header(HeaderName::from_static("x-tenant")))
//!     .on(TenantErrorKind::Missing, Fallback::Untraced)
//!     .on(TenantErrorKind::Unknown, Fallback::Refuse(StatusCode::FORBIDDEN))
//!     .session(|tracer, _request| Some(tracer.session("request")));
//! let service = layer.layer(service);
//! # }
//! ```
//!
//! # Invariants
//! - Headers choose only what the operator allows: the tenant through the configured source; the
//!   remote parent, baggage and session as far as the tenant's binding trusts them.
//! - The service, its future and the response body are called, polled and dropped in the scope of
//!   their request only.
//! - The span of a request ends exactly once: with the body, with an error or a panic, or when the
//!   body or the future is dropped.

mod authority;
mod body;
mod conventions;
mod error;
mod error_counts;
mod exchange;
mod failure_log;
mod future;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grpc;
mod incoming;
mod layer;
mod outgoing;
mod refusal;
mod running;
mod service;
mod settings;
mod source;
#[cfg(test)]
mod tests;

pub use body::TracedBody;
pub use error::{TenantError, TenantErrorKind};
pub use error_counts::TenantErrorCounts;
pub use future::ResponseFuture;
pub use layer::TenantLayer;
pub use outgoing::{PropagationLayer, PropagationService};
pub use running::RunningFuture;
pub use service::TenantService;
pub use settings::Fallback;
pub use source::TenantSource;
