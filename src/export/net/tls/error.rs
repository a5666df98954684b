//! Why the certificates of a binding cannot be used: the file and the rule, never the content.

use std::path::{Path, PathBuf};

use crate::util::printable::printable_path;
use crate::util::system_error::SystemError;

/// A file that a binding's `tls` names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", printable_path(.file))]
pub struct TlsError {
    file: PathBuf,
    fault: TlsErrorKind,
}

/// What is wrong with a file that a binding's `tls` names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// A folder, a pipe, a device.
    #[error("not a regular file")]
    NotAFile,
    /// The file is there and cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(SystemError),
    /// The private key may be read or written by every user, and `keys.strict_permissions` is set. The file's mode.
    #[error("open to every user (mode {0:04o}), and keys.strict_permissions is set; close it with chmod o-rw")]
    OpenToEveryUser(u32),
    /// The file is larger than any bundle of certificates.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// No PEM, or PEM without a certificate, or with one that breaks off.
    #[error("no PEM certificates can be read from it; each is between BEGIN CERTIFICATE and END CERTIFICATE")]
    NoCertificate,
    /// No PEM, or PEM without a private key. A key that is encrypted is none.
    #[error("no PEM private key can be read from it; an encrypted one is not supported")]
    NoKey,
    /// PEM, and in it something else than a certificate.
    #[error("certificate {0} in it is none that can be used")]
    BadCertificate(usize),
    /// A private key of a kind that is not known.
    #[error("the private key in it is of no kind that can be used; RSA, ECDSA and Ed25519 are")]
    BadKey,
    /// The private key is that of another certificate.
    #[error("the private key in it is not that of the certificate in {}", printable_path(.0))]
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

    /// Whether the file may be there, or be read, later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.fault, TlsErrorKind::NotFound | TlsErrorKind::Unreadable(_))
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong with it.
    pub fn fault(&self) -> &TlsErrorKind {
        &self.fault
    }
}
