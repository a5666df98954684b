//! Reads keys for one registry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;

#[cfg(feature = "redact")]
use super::HashKey;
use super::rules::KeyScheme;
use super::{ApiKey, KeyRefusalStatus, KeySource, SecretError, SecretErrorKind, SecretSources, exec, file};
use crate::util::system_error::SystemError;

/// Reads keys with a registry's sources and rules.
#[derive(Clone, Debug)]
pub(crate) struct KeyReader {
    sources: SecretSources,
    /// Whether to refuse files that every user may read or write.
    strict_permissions: bool,
    /// Set to end running commands.
    cancelled: Arc<AtomicBool>,
}

/// A key's source and its header scheme. The rules for a key depend on both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyOrigin {
    pub(crate) source: KeySource,
    pub(crate) scheme: KeyScheme,
}

impl KeyReader {
    pub(crate) fn new(sources: SecretSources, strict_permissions: bool) -> Self {
        Self {
            sources,
            strict_permissions,
            cancelled: Arc::default(),
        }
    }

    /// Returns whether files that every user may read or write are refused.
    pub(crate) fn has_strict_permissions(&self) -> bool {
        self.strict_permissions
    }

    /// Returns the program's own sources.
    pub(crate) fn sources(&self) -> &SecretSources {
        &self.sources
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Returns an error if the source fails, or if the scheme cannot carry the key.
    pub(crate) fn read(&self, source: &KeySource, scheme: KeyScheme) -> Result<ApiKey, SecretError> {
        let key = source.read_by(self)?;
        let fits = key.check_for(scheme);
        fits.map_err(|kind| SecretError::new(source.to_string(), kind))?;
        Ok(key)
    }

    /// Reads a key that no header of this process carries, so that only the rules of every key
    /// apply.
    #[cfg(feature = "gateway")]
    pub(crate) fn read_unsent(&self, source: &KeySource) -> Result<ApiKey, SecretError> {
        source.read_by(self)
    }

    /// Reads the key of hashes in redacted data.
    #[cfg(feature = "redact")]
    pub(crate) fn read_hash_key(&self, source: &KeySource) -> Result<HashKey, SecretError> {
        let key = HashKey::new(source.read_by(self)?);
        key.map_err(|kind| SecretError::new(source.to_string(), kind))
    }

    /// Like [`read`](Self::read), on a thread of the registry: a panic of the program's own source
    /// becomes an error.
    pub(crate) fn read_in_background(&self, origin: &KeyOrigin) -> Result<ApiKey, SecretError> {
        // After a panic, the program's own source is responsible for its state.
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&origin.source, origin.scheme)));
        read.unwrap_or_else(|_| Err(SecretError::new(origin.source.to_string(), SecretErrorKind::Panicked)))
    }

    /// Cancels running commands, and commands started later.
    pub(crate) fn cancel(&self) {
        // Relaxed, because the flag publishes no other data.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl KeySource {
    /// Reads the key, without the checks of a header scheme.
    ///
    /// # Errors
    /// Returns a [`SecretError`] with the source's name and the reason. It never contains
    /// a part of the key.
    pub fn read(&self, sources: &SecretSources) -> Result<ApiKey, SecretError> {
        self.read_by(&KeyReader::new(sources.clone(), false))
    }

    /// Reads the key with a registry's rules.
    fn read_by(&self, reader: &KeyReader) -> Result<ApiKey, SecretError> {
        match self {
            Self::Env(name) => read_variable(name).map_err(|kind| SecretError::new(self.to_string(), kind)),
            Self::File(path) => file::read(path, reader.strict_permissions),
            Self::Confined(confined) => file::read_confined(confined, reader.strict_permissions),
            Self::Credential(name) => file::read_credential(name, reader.strict_permissions),
            Self::Exec(command) => exec::read(command, &reader.cancelled),
            Self::Provider { provider, name } => self.fetch(&reader.sources, provider, name),
        }
    }

    fn fetch(&self, sources: &SecretSources, provider: &str, name: &str) -> Result<ApiKey, SecretError> {
        let error = |kind| SecretError::new(self.to_string(), kind);
        let source = sources.get(provider).ok_or_else(|| {
            let known: Vec<&str> = sources.names().collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            error(SecretErrorKind::UnknownProvider(known))
        })?;
        let secret = source.fetch(name).map_err(|refused| error(refused.kind().clone()))?;
        ApiKey::new(secret).map_err(error)
    }
}

#[expect(clippy::disallowed_methods, reason = "environment variables are key sources")]
fn read_variable(name: &str) -> Result<ApiKey, SecretErrorKind> {
    let value = std::env::var_os(name).ok_or(SecretErrorKind::Unset)?;
    let text = value.into_string().map_err(|_| SecretErrorKind::NotUtf8)?;
    ApiKey::new(SecretString::from(text))
}

impl KeyOrigin {
    /// Returns how long a key is valid after it is read, or `None` if it is valid until a receiver
    /// refuses it.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        match &self.source {
            KeySource::Exec(command) => command.lifetime,
            _ => None,
        }
    }

    /// Returns the error of a read for which no thread could be started.
    pub(crate) fn no_thread_error(&self, error: SystemError) -> SecretError {
        SecretError::new(self.source.to_string(), SecretErrorKind::NoThread(error))
    }

    /// Returns the error of a key that a receiver refuses. `previous_accepted`: it still accepts
    /// the previous key.
    pub(crate) fn refused_error(&self, status: KeyRefusalStatus, previous_accepted: bool) -> SecretError {
        let kind = if previous_accepted {
            SecretErrorKind::ReplacementRefused(status)
        } else {
            SecretErrorKind::RefusedByReceiver(status)
        };
        SecretError::new(self.source.to_string(), kind)
    }
}
