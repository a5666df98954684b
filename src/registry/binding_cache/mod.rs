//! The program's binding source, and a cache of its answers.
//!
//! Nothing runs when an answer expires. A tracer knows the expiry of the answer it was created from
//! (`tracer::Freshness`), and the next look-up after that asks the source again.

mod cache;
mod single_flight;
mod source;
mod ttl_map;

pub(super) use cache::{Answer, BindingCache};
pub(super) use single_flight::SingleFlight;
pub(super) use source::Source;
pub use source::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
