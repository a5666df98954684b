//! One TLS identity: what was read from its files, and when to read them again.

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

/// The platform's certificate authorities, read once for all.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    /// For identities without files of their own.
    config: Arc<ClientConfig>,
    verifier: Result<Arc<dyn ServerCertVerifier>, String>,
}

/// The certificates of a binding.
pub(crate) struct Identity {
    files: Tls,
    platform: Platform,
    strict_permissions: bool,
    read: ForkLock<Read>,
}

/// What was read last.
struct Read {
    config: Arc<ClientConfig>,
    /// How the files looked before they were read; nothing where they are to be read again however they look.
    stamps: Option<[Option<Stamp>; 3]>,
    /// Why what is there now is not what is used.
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
    /// Reads the files. With `strict_permissions`, a private key that every user may read or write is refused.
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

    /// Reads the files again where they changed; the error says why what is there now cannot be used.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.refresh().1.map_or(Ok(()), Err)
    }

    /// What a new connection is made with.
    pub(crate) async fn current(self: &Arc<Self>, blocking: &Blocking) -> Result<Arc<ClientConfig>, String> {
        if self.files.ca.is_none()
            && let Err(reason) = &self.platform.verifier
        {
            return Err(format!("TLS cannot be set up: {reason}"));
        }
        if self.files == Tls::default() {
            return Ok(Arc::clone(&self.platform.config));
        }
        // A disk that hangs must not hold a thread that sends for others.
        let identity = Arc::clone(self);
        let refreshed = blocking.run(move || identity.refresh().0).await;
        refreshed.map_err(|error| format!("the certificates cannot be read, for a thread cannot be started: {error}"))
    }

    /// A connection failed, for whatever reason: the next one begins with a look into the files.
    pub(crate) fn note_failure(&self) {
        self.read.lock().stamps = None;
    }

    /// Why a connection failed, in the words of who configured it.
    pub(crate) fn explain(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let said = match rustls_error(error)? {
            rustls::Error::InvalidCertificate(why) => {
                let trusted = match &self.files.ca {
                    Some(ca) => format!("those of {}", printable_path(ca)),
                    None => "those of the platform's authorities".to_owned(),
                };
                format!("the server's certificate is not accepted, {trusted} are: {why}")
            }
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "the server wants a client certificate, and tls.cert names none".to_owned()
            }
            rustls::Error::AlertReceived(alert) => format!("the server refused the handshake: {alert:?}"),
            other => other.to_string(),
        };
        Some(match &self.read.lock().fault {
            Some(fault) => format!("{said}; the files changed, and what was read before is used: {fault}"),
            None => said,
        })
    }

    fn refresh(&self) -> (Arc<ClientConfig>, Option<TlsError>) {
        if self.files == Tls::default() {
            return (Arc::clone(&self.platform.config), None);
        }
        // Before reading: a change while they are read is seen the next time.
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

/// Without what was read from the files: a private key is in it.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.files)
    }
}

/// The cause that is rustls', if one is. It may be within errors of input and output, which do not tell it as their source.
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
