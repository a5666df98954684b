//! TLS identity of a binding: the settings read from its files, and when to read them again.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::{AlertDescription, ClientConfig};

use super::TlsError;
use super::files::{self, Stamp};
use crate::config::Tls;
use crate::export::schedule::blocking::Blocking;
use crate::util::fork::ForkLock;
use crate::util::printable::printable_path;

/// The platform's certificate authorities, loaded once.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    /// Settings of identities without files.
    config: Arc<ClientConfig>,
    verifier: Result<Arc<dyn ServerCertVerifier>, String>,
}

/// The TLS identity of a binding.
pub(crate) struct Identity {
    files: Tls,
    platform: Platform,
    strict_permissions: bool,
    read: ForkLock<Read>,
}

/// Result of the last read.
struct Read {
    config: Arc<ClientConfig>,
    /// Stamps of the files before the read. `None` forces another read.
    stamps: Option<[Option<Stamp>; 3]>,
    /// Why the current files are not in use, if so.
    fault: Option<TlsError>,
}

impl Platform {
    pub(crate) fn new() -> Self {
        let verifier = rustls_platform_verifier::Verifier::new(files::provider());
        let verifier = verifier
            .map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>)
            .map_err(|error| error.to_string());
        let config = files::trusting_platform(verifier.as_ref().ok()).with_no_client_auth();
        Self {
            config: Arc::new(files::with_protocols(config)),
            verifier,
        }
    }
}

impl Identity {
    /// Reads the files. With `strict_permissions`, a private key that every user may read or write
    /// is refused.
    pub(crate) fn new(files: &Tls, platform: &Platform, strict_permissions: bool) -> Result<Self, TlsError> {
        let identity = Self {
            files: files.clone(),
            platform: platform.clone(),
            strict_permissions,
            read: ForkLock::new(Read {
                config: Arc::clone(&platform.config),
                stamps: None,
                fault: None,
            }),
        };
        identity.check()?;
        Ok(identity)
    }

    /// Reads changed files again. Returns an error if the current files cannot be used.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.refresh().1.map_or(Ok(()), Err)
    }

    /// Returns the settings for a new connection.
    pub(crate) async fn current(self: &Arc<Self>, blocking: &Blocking) -> Result<Arc<ClientConfig>, String> {
        if self.files.ca.is_none()
            && let Err(reason) = &self.platform.verifier
        {
            return Err(format!("cannot load the platform's certificate authorities: {reason}"));
        }
        if self.files == Tls::default() {
            return Ok(Arc::clone(&self.platform.config));
        }
        // On another thread, because a hanging disk must not block a sending thread.
        let identity = Arc::clone(self);
        let refreshed = blocking.run(move || identity.refresh().0).await;
        refreshed.map_err(|error| format!("cannot read the certificates: cannot start a thread: {error}"))
    }

    /// Makes the next connection check the files, because a connection failed.
    pub(crate) fn note_failure(&self) {
        self.read.lock().stamps = None;
    }

    /// Explains a failed connection in terms of the configuration. Returns `None` if the cause is
    /// not TLS.
    pub(crate) fn explain(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let message = match rustls_error(error)? {
            rustls::Error::InvalidCertificate(why) => {
                let trusted = match &self.files.ca {
                    Some(ca) => printable_path(ca).to_string(),
                    None => "the platform's".to_owned(),
                };
                format!("server certificate rejected (trusted authorities: {trusted}): {why}")
            }
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "server requires a client certificate, but tls.cert is not set".to_owned()
            }
            rustls::Error::AlertReceived(alert) => format!("server refused the TLS handshake: {alert:?}"),
            other => other.to_string(),
        };
        Some(match &self.read.lock().fault {
            Some(fault) => format!("{message}; the certificate files changed but cannot be used: {fault}"),
            None => message,
        })
    }

    fn refresh(&self) -> (Arc<ClientConfig>, Option<TlsError>) {
        if self.files == Tls::default() {
            return (Arc::clone(&self.platform.config), None);
        }
        // Before reading, so that a change during the read is noticed next time.
        let now = files::stamps(&self.files);
        {
            let read = self.read.lock();
            if read.stamps == Some(now) {
                return (Arc::clone(&read.config), read.fault.clone());
            }
        }
        let result = files::read(
            &self.files,
            self.platform.verifier.as_ref().ok(),
            self.strict_permissions,
        );
        let mut read = self.read.lock();
        read.stamps = Some(now);
        match result {
            Ok(config) => (read.config, read.fault) = (Arc::new(config), None),
            Err(fault) => read.fault = Some(fault),
        }
        (Arc::clone(&read.config), read.fault.clone())
    }
}

/// Omits what was read from the files, because it includes a private key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.files)
    }
}

/// Returns the rustls error among the causes, if any. Looks inside I/O errors too, because their
/// `source` skips the inner error.
fn rustls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match within {
            Some(within) => Some(within as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
