//! The program's source of bindings, and a cache of its answers.
//!
//! An answer expires; nothing runs when it does. A tracer knows when the answer that it was made of
//! expires (`tracer::Freshness`), and the next look-up after that asks the source again.

mod cache;
mod single_flight;
mod source;
mod ttl_map;

pub(super) use cache::{Answer, BindingCache};
pub(super) use single_flight::SingleFlight;
pub(super) use source::Source;
pub use source::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
