//! One isolated tracer, and the handle that callers hold.

mod default_session;
mod handle;
mod registry_tracer;
mod start;

pub use handle::TracerHandle;
pub use registry_tracer::RegistryTracer;
pub(crate) use start::Open;
