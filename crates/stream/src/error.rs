//! Errors of a start.

/// Why a store was not opened. `Display` never shows a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The credentials cannot be read.
    #[error("the credentials of the stream are {0}")]
    Credentials(&'static str),
    /// An address or a file of TLS is not valid, or the servers refuse the credentials.
    #[error("cannot connect to the servers of the stream: {0}")]
    Connect(String),
    /// No server answers.
    #[error("the servers of the stream cannot be reached: {0}")]
    Away(String),
    /// The thread cannot be started.
    #[error("cannot start the thread of the stream: {0}")]
    Thread(std::io::Error),
    /// The streams are missing or differ from the options.
    #[error("the streams are not as configured: {0}; run `tracer-registry stream init`")]
    Streams(String),
    /// A server is too old.
    #[error("the server {server} is version {version}; the stream needs 2.12 or newer")]
    Version {
        /// Its name.
        server: String,
        /// Its version.
        version: String,
    },
    /// The servers refuse a request, or do not answer it.
    #[error("the servers of the stream do not answer for {name}: {error}")]
    Request {
        /// The stream, consumer or bucket.
        name: String,
        /// The answer.
        error: String,
    },
    /// The servers may lose acknowledged data.
    #[error("the servers may lose acknowledged data: {0}; set accept_weaker_durability to start anyway")]
    WeakerDurability(String),
}
