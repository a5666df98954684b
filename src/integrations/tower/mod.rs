//! Layers for tower: a request is served in its tenant's scope, and a request that goes out takes the scope along.
//!
//! [`TenantLayer`] wraps whatever serves HTTP as a tower service: axum, hyper, tonic. From each request it learns the tenant
//! ([`TenantSource`]), looks the tracer up without blocking a thread, and runs the service in that tracer's scope under a server span, which
//! ends with the response's body. [`PropagationLayer`] wraps a client: what goes out carries the current scope's trace, and nobody else's.
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
//! # What it must not do
//! Take more from headers than the operator named: the tenant from the source that was given, and the remote parent, baggage and session as far
//! as the tenant's own binding trusts them.
//!
//! # Invariants
//! - The service, its future and the response's body are called, polled and dropped in the scope of their request, and in no other.
//! - A span that was started for a request ends exactly once: with the body, with an error or a panic, or where the body or the
//!   future is dropped.

mod authority;
mod body;
mod conventions;
mod error;
mod errors;
mod exchange;
mod future;
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
pub use errors::TenantErrorCounts;
pub use future::ResponseFuture;
pub use layer::TenantLayer;
pub use outgoing::{PropagationLayer, PropagationService};
pub use running::RunningFuture;
pub use service::TenantService;
pub use settings::Fallback;
pub use source::TenantSource;
