//! Errors of the start of a collector.

use std::io;

/// Error of the start of a [`LocalCollector`](crate::LocalCollector).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The address is invalid, in use, or not permitted.
    #[error("cannot listen on {address:?}")]
    Listen {
        /// Address from the settings.
        address: String,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A name given to [`CollectorBuilder::key_header`](crate::CollectorBuilder::key_header) is not
    /// a header name.
    #[error("invalid header name {name:?}")]
    KeyHeader {
        /// Name from the settings.
        name: String,
    },
    /// The operating system cannot create a thread.
    #[error("cannot start the collector's thread")]
    Thread(#[source] io::Error),
    /// The reactor of the server's thread cannot be created, or rejects the socket.
    #[error("cannot start the collector's reactor")]
    Reactor(#[source] io::Error),
}
