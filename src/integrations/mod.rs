//! Integrations: OpenTelemetry's global API, `#[trace]`, the `tracing` crate, tower and reqwest.

pub(crate) mod global;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub(crate) mod routing;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "macros")]
pub(crate) mod trace_macro;
#[cfg(feature = "tracing")]
pub(crate) mod tracing_layer;

pub use crate::span::RegistrySpan;
pub use crate::tracer::RegistryTracer;
pub use routing::{RoutingProvider, RoutingTracer};
#[cfg(feature = "tracing")]
pub use tracing_layer::TracingLayer;
