//! Errors of a binding's certificate files: the file and the rule, never the content.

use std::path::{Path, PathBuf};

use crate::util::printable::printable_path;
use crate::util::system_error::SystemError;

/// Error of a file in a binding's `tls` settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", printable_path(.file))]
pub struct TlsError {
    file: PathBuf,
    fault: TlsErrorKind,
}

/// Kind of error of a file in a binding's `tls` settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// The file does not exist.
    #[error("no such file")]
    NotFound,
    /// The path is not a regular file, but for example a folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The file exists and cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(SystemError),
    /// Every user may read or write the private key, and `keys.strict_permissions` is set. Contains
    /// the file's mode.
    #[error("open to every user (mode {0:04o}), which keys.strict_permissions forbids; run chmod o-rw")]
    OpenToEveryUser(u32),
    /// The file is larger than the limit, in bytes.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// The file has no PEM certificate, or an incomplete one.
    #[error("no valid PEM certificate found")]
    NoCertificate,
    /// The file has no PEM private key. Encrypted keys are not supported.
    #[error("no PEM private key found; encrypted keys are not supported")]
    NoKey,
    /// A PEM certificate is invalid. Contains its number in the file, from 1.
    #[error("certificate {0} is invalid")]
    BadCertificate(usize),
    /// The private key's type is not supported.
    #[error("unsupported private key; use RSA, ECDSA or Ed25519")]
    BadKey,
    /// The private key does not match the certificate. Contains the certificate's file.
    #[error("private key does not match the certificate in {}", printable_path(.0))]
    OtherKey(PathBuf),
}

impl TlsError {
    #[cfg_attr(
        not(any(feature = "tls", test)),
        expect(dead_code, reason = "without TLS no file is read")
    )]
    pub(crate) fn new(file: &Path, fault: TlsErrorKind) -> Self {
        Self {
            file: file.to_owned(),
            fault,
        }
    }

    /// Returns whether the file may become readable later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.fault, TlsErrorKind::NotFound | TlsErrorKind::Unreadable(_))
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the kind of error.
    pub fn fault(&self) -> &TlsErrorKind {
        &self.fault
    }
}
