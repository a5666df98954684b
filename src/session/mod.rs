//! Sessions: groups of spans with an id and metadata, each owned by exactly one tracer.

mod enrichment;
mod handle;
pub(crate) mod state;

pub use enrichment::Enrichment;
pub use handle::{Session, SessionBuilder};
