//! What the program's source of bindings answered, kept for a while.

mod cache;
mod expiry;
mod single_flight;
mod source;
mod ttl_map;

pub(super) use cache::{Answer, Answers};
pub(super) use expiry::Ageing;
pub(super) use single_flight::Flights;
pub(super) use source::Source;
pub use source::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
