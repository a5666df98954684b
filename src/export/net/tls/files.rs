//! Reads PEM files into rustls settings.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WantsClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use secrecy::zeroize::Zeroizing;

use super::{TlsError, TlsErrorKind};
use crate::config::Tls;
use crate::secret::open_to_every_user;

/// Largest accepted file: four times the bundle of all public authorities.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Modification time and size of a file. Most changes alter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Returns the stamps of the files; `None` for a file that is not set or does not exist.
pub(crate) fn stamps(files: &Tls) -> [Option<Stamp>; 3] {
    let stamp = |metadata: Metadata| Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
    };
    [&files.ca, &files.cert, &files.key].map(|file| fs::metadata(file.as_ref()?).ok().map(stamp))
}

/// Returns the crypto provider. Explicit, to neither set nor depend on rustls' process-wide
/// default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Creates settings that trust the platform's authorities, or none if they cannot be loaded.
pub(crate) fn trusting_platform(
    platform: Option<&Arc<dyn ServerCertVerifier>>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    match platform {
        Some(verifier) => builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(verifier)),
        None => builder().with_root_certificates(RootCertStore::empty()),
    }
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has all cipher suites of the default versions")
}

/// Enables HTTP/2 and HTTP/1.1 by ALPN.
pub(crate) fn with_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Reads the files. Each result has its own TLS session cache, so no session is resumed with
/// another client certificate.
pub(crate) fn read(
    files: &Tls,
    platform: Option<&Arc<dyn ServerCertVerifier>>,
    strict_permissions: bool,
) -> Result<ClientConfig, TlsError> {
    let trusting = match &files.ca {
        Some(ca) => builder().with_root_certificates(roots(ca)?),
        None => trusting_platform(platform),
    };
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else {
        return Ok(with_protocols(trusting.with_no_client_auth()));
    };
    let chain = certificates(cert)?;
    let private = private_key(key, strict_permissions)?;
    trusting
        .with_client_auth_cert(chain, private)
        .map(with_protocols)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(key, TlsErrorKind::OtherKey(cert.clone())),
            rustls::Error::InvalidCertificate(_) => TlsError::new(cert, TlsErrorKind::BadCertificate(1)),
            _ => TlsError::new(key, TlsErrorKind::BadKey),
        })
}

fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(ca)?.into_iter().enumerate() {
        roots
            .add(certificate)
            .map_err(|_| TlsError::new(ca, TlsErrorKind::BadCertificate(index + 1)))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = content(file, false)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::new(file, TlsErrorKind::NoCertificate)),
    }
}

fn private_key(file: &Path, strict_permissions: bool) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&content(file, strict_permissions)?)
        .map_err(|_| TlsError::new(file, TlsErrorKind::NoKey))
}

/// Returns the content of a file, wiped on drop because it may be a private key. `closed` refuses a
/// file that every user may read or write.
fn content(file: &Path, closed: bool) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let error = |fault| TlsError::new(file, fault);
    let unreadable = |failed: io::Error| match failed.kind() {
        ErrorKind::NotFound => error(TlsErrorKind::NotFound),
        _ => error(TlsErrorKind::Unreadable(failed.into())),
    };
    // Check before opening: opening a pipe without a writer would block forever.
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(error(TlsErrorKind::NotAFile));
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > MAX_FILE_BYTES {
        return Err(error(TlsErrorKind::TooLarge(MAX_FILE_BYTES)));
    }
    // Fixed size: a growing buffer leaves copies behind that are not wiped.
    let mut bytes = Zeroizing::new(vec![0; length]);
    let mut open = File::open(file).map_err(unreadable)?;
    if closed && let Some(mode) = open_to_every_user(&open.metadata().map_err(unreadable)?) {
        return Err(error(TlsErrorKind::OpenToEveryUser(mode)));
    }
    let mut filled = 0;
    while filled < length {
        match open.read(&mut bytes[filled..]).map_err(unreadable)? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
