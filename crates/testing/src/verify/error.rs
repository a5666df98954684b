//! Error of `verify`.

use tracer_registry::{BuildError, LookupError};
use tracer_registry_collector::CollectorError;

/// Error that stopped [`verify`](super::verify) before it had a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The local collector did not start.
    #[error("cannot start the local collector")]
    Collector(#[from] CollectorError),
    /// A registry could not be built.
    #[error("cannot build a registry")]
    Build(#[from] BuildError),
    /// A tracer could not be created.
    #[error("cannot get a tracer")]
    Lookup(#[from] LookupError),
    /// A plain SDK provider could not be built.
    #[error("cannot build a plain provider: {0}")]
    Peer(String),
    /// The gateway did not start. Contains its log.
    #[error("the gateway does not start: {0}")]
    Gateway(String),
    /// The NATS servers of a cluster did not start.
    #[error("cannot start the NATS servers of the cluster: {0}")]
    Servers(String),
    /// Threads or temporary files could not be created.
    #[error("cannot create threads or temporary files")]
    Runtime(#[from] std::io::Error),
}
