//! Whom an `https` endpoint is believed, and who we say we are: the certificates of a binding, read again when their files change.
//!
//! An [`Identity`] is asked before each new connection. Where a file looks other than when it was read, or a connection failed since, all are
//! read again; connections that are open stay as they are. A change that cannot be used, such as a certificate whose new key is not there
//! yet, leaves what was read before in use, and is said with the next handshake that fails.

mod error;
#[cfg(feature = "tls")]
mod files;

pub use error::{TlsError, TlsErrorKind};
#[cfg(feature = "tls")]
pub(crate) use identity::{Identity, Platform};

#[cfg(feature = "tls")]
mod identity;
