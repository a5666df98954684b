//! TLS settings of a binding: trusted authorities and client certificate, read again when their
//! files change.
//!
//! [`Identity`] provides the settings of each new connection. If a file changed since it was read,
//! or a connection failed, all files are read again; open connections are unaffected. If the new
//! files are unusable, for example because a certificate's key is not there yet, the previous
//! settings stay in use, and the next failed handshake reports the error.

mod error;
#[cfg(feature = "tls")]
mod files;

pub use error::{TlsError, TlsErrorKind};
#[cfg(feature = "tls")]
pub(crate) use identity::{Identity, Platform};

#[cfg(feature = "tls")]
mod identity;
