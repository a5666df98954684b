//! Spans: the type for OpenTelemetry's API, and the handle passed to closures.

mod active_span;
mod registry_span;

pub use active_span::ActiveSpan;
#[cfg(feature = "tower")]
pub(crate) use active_span::type_of;
pub(crate) use registry_span::NOW;
pub use registry_span::RegistrySpan;
