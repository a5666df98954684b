//! Why nothing could be verified.

use tracer_registry::{BuildError, LookupError};
use tracer_registry_collector::CollectorError;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The local collector did not start.
    #[error("the local collector cannot be started")]
    Collector(#[from] CollectorError),
    /// A registry could not be made.
    #[error("a registry cannot be made")]
    Build(#[from] BuildError),
    /// A tracer could not be made.
    #[error("a tracer cannot be had")]
    Lookup(#[from] LookupError),
    /// A plain provider could not be made.
    #[error("a plain provider cannot be made: {0}")]
    Peer(String),
    /// The system gave no threads, or no folder for files.
    #[error("threads or files cannot be had")]
    Runtime(#[from] std::io::Error),
}
