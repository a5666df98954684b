//! Sessions: groups of spans with an id and metadata of their own, each of exactly one tracer.

mod handle;
pub(crate) mod state;

pub use handle::{Enrichment, Session, SessionBuilder};
