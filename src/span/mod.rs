//! Spans: the one that OpenTelemetry's API sees, and the one that a closure gets.

mod active_span;
mod registry_span;

pub use active_span::ActiveSpan;
#[cfg(feature = "tower")]
pub(crate) use active_span::type_of;
pub(crate) use registry_span::NOW;
pub use registry_span::RegistrySpan;
