//! TLS of the listeners. The certificates are read again when their files change.

use std::fmt::Display;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use ring::digest::{SHA256, digest};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::config::Tls as TlsSettings;

/// Protocols that a TLS client may choose.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Largest file that is read.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// A file of TLS cannot be used.
#[derive(Debug)]
pub(crate) struct TlsError {
    /// Name of the setting.
    pub(crate) field: &'static str,
    /// What is wrong with its file. Contains the path.
    pub(crate) problem: String,
}

/// A file of the settings, with its name there.
#[derive(Clone, Copy)]
struct TlsFile<'s> {
    field: &'static str,
    path: &'s Path,
}

impl TlsFile<'_> {
    fn error(self, problem: impl Display) -> TlsError {
        TlsError {
            field: self.field,
            problem: format!("{}: {problem}", self.path.display()),
        }
    }

    /// Returns the content, wiped when dropped because it may be a private key.
    fn content(self) -> Result<Zeroizing<Vec<u8>>, TlsError> {
        let mut content = Zeroizing::new(Vec::new());
        // A pipe without a writer would block.
        let metadata = fs::metadata(self.path).map_err(|error| self.error(error))?;
        if !metadata.is_file() {
            return Err(self.error("not a file"));
        }
        // Never grows, because that would leave copies behind.
        let len = usize::try_from(metadata.len())
            .unwrap_or(usize::MAX)
            .min(MAX_FILE_BYTES + 1);
        content.reserve_exact(len);
        let file = fs::File::open(self.path).map_err(|error| self.error(error))?;
        file.take(len as u64)
            .read_to_end(&mut content)
            .map_err(|error| self.error(error))?;
        if content.len() > MAX_FILE_BYTES {
            return Err(self.error("larger than 1 MiB"));
        }
        Ok(content)
    }

    fn certificates(self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.error("no certificate in PEM")),
        }
    }
}

/// The current TLS configuration. None without TLS.
#[derive(Default)]
pub(crate) struct Tls {
    current: ArcSwapOption<ServerConfig>,
    /// Digest of the files of `current`.
    digest: Mutex<Vec<u8>>,
}

/// TLS that was read and not yet applied.
pub(crate) struct ReadTls {
    config: Arc<ServerConfig>,
    digest: Vec<u8>,
}

impl Tls {
    pub(crate) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.current.load_full()
    }

    /// Applies what was read to new connections. Returns whether it differs from before.
    pub(crate) fn apply(&self, read: Option<ReadTls>) -> bool {
        let (config, digest) = read.map(|read| (read.config, read.digest)).unzip();
        let digest = digest.unwrap_or_default();
        let mut current = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != digest;
        if changed {
            // Sessions of earlier certificates cannot be resumed: each configuration has its own.
            self.current.store(config);
            *current = digest;
        }
        changed
    }
}

/// Reads the files. Blocks the thread.
///
/// # Errors
/// If a file cannot be read, or if its certificates or key cannot be used.
pub(crate) fn read(settings: &TlsSettings) -> Result<ReadTls, TlsError> {
    let file = |field, path| TlsFile { field, path };
    let certificate = file("gateway.tls.certificate", &settings.certificate);
    let key = file("gateway.tls.key", &settings.key);
    let client_ca = settings
        .client_ca
        .as_deref()
        .map(|path| file("gateway.tls.client_ca", path));

    let (certificate_pem, key_pem) = (certificate.content()?, key.content()?);
    let client_ca_pem = client_ca.map(TlsFile::content).transpose()?.unwrap_or_default();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has all cipher suites of the default versions");
    let builder = match client_ca {
        Some(client_ca) => {
            let mut roots = RootCertStore::empty();
            for authority in client_ca.certificates(&client_ca_pem)? {
                roots.add(authority).map_err(|error| client_ca.error(error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| client_ca.error(error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificate.certificates(&certificate_pem)?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| key.error("no private key in PEM"))?;
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| certificate.error(error))?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    let digests = [certificate_pem, key_pem, client_ca_pem].map(|pem| digest(&SHA256, &pem));
    Ok(ReadTls {
        config: Arc::new(config),
        digest: digests.iter().flat_map(|digest| digest.as_ref().to_vec()).collect(),
    })
}
