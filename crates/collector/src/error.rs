//! Why a collector could not be started.

use std::io;

/// Why a [`LocalCollector`](crate::LocalCollector) did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The address is not one, or is taken, or may not be listened on.
    #[error("the local collector cannot listen on {address:?}")]
    Listen {
        /// The address as the caller wrote it.
        address: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// What was given as the name of a header is none.
    #[error("{name:?} is not the name of a header")]
    KeyHeader {
        /// The name as the caller wrote it.
        name: String,
    },
    /// The operating system gives no thread.
    #[error("the thread of the local collector cannot be started")]
    Thread(#[source] io::Error),
    /// The reactor that the server's thread runs on cannot be made, or refuses the socket.
    #[error("the reactor of the local collector cannot be started")]
    Reactor(#[source] io::Error),
}
