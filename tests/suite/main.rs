//! The integration tests: one binary, so that they are linked once.

#[cfg(feature = "collector")]
mod collector;
