//! Many isolated OpenTelemetry tracers in one process.

#[cfg(feature = "collector")]
pub mod collector;
pub mod config;
mod secret;
mod selector;

pub use secret::{ApiKey, Fingerprint, Fingerprinter, KeySource, SecretError, SecretFault, SecretSource, SecretSources};
pub use selector::{Name, NameError, NameFault, Part, Selector, SelectorError, SelectorParts};
