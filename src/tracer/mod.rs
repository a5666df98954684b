//! One isolated tracer, and the handle that callers hold.

mod copies;
mod default_session;
mod freshness;
mod handle;
#[cfg(feature = "gateway")]
mod payload_rules;
mod registry_tracer;
mod sampler;
mod sdk_tracers;
mod start;

pub(crate) use freshness::FreshnessSnapshot;
pub use handle::TracerHandle;
pub use registry_tracer::RegistryTracer;
#[cfg(any(feature = "macros", feature = "tower", feature = "tracing"))]
pub(crate) use start::OpenSpan;
