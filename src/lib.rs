//! Many isolated OpenTelemetry tracers in one process.

#[cfg(feature = "collector")]
pub mod collector;
mod secret;

pub use secret::{Fingerprint, Fingerprinter};
