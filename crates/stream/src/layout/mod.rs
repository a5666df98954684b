//! Names of streams, subjects and buckets, their configuration, and what differs from it.

mod differences;
pub(crate) mod names;
mod streams;
pub(crate) mod wanted;

pub use differences::Difference;
pub(crate) use streams::check;
pub use streams::{Found, InitReport, Mode, Thing, ThingKind, init};
