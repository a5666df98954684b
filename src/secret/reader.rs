//! How a registry reads keys: from which sources, by which rules, and for which header.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use super::rules::KeyScheme;
use super::{ApiKey, KeyRefusalStatus, KeySource, SecretError, SecretErrorKind, SecretSources, exec, file};
use crate::util::system_error::SystemError;

/// Reads keys for one registry.
#[derive(Clone, Debug)]
pub(crate) struct KeyReader {
    sources: SecretSources,
    /// Files that every user may read or write are refused.
    strict_permissions: bool,
    /// Commands that run are ended.
    given_up: Arc<AtomicBool>,
}

/// Where a key comes from, and the header that it is for: what a key must look like depends on both.
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
            given_up: Arc::default(),
        }
    }

    /// Whether files that every user may read or write are refused.
    pub(crate) fn has_strict_permissions(&self) -> bool {
        self.strict_permissions
    }

    /// The program's own sources.
    pub(crate) fn sources(&self) -> &SecretSources {
        &self.sources
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The source's, or that the key cannot be sent so.
    pub(crate) fn read(&self, source: &KeySource, scheme: KeyScheme) -> Result<ApiKey, SecretError> {
        let key = source.read_by(self)?;
        let fits = key.check_for(scheme);
        fits.map_err(|fault| SecretError::new(source.to_string(), fault))?;
        Ok(key)
    }

    /// As [`read`](Self::read), on a thread of the registry: a panic of the program's own source is an error.
    pub(crate) fn read_again(&self, origin: &KeyOrigin) -> Result<ApiKey, SecretError> {
        // What a panic leaves behind in a program's own source is that source's.
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&origin.source, origin.scheme)));
        read.unwrap_or_else(|_| Err(SecretError::new(origin.source.to_string(), SecretErrorKind::Panicked)))
    }

    /// Ends the commands that run, and those that are started from here on.
    pub(crate) fn give_up(&self) {
        // Relaxed: it guards nothing else.
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl KeySource {
    /// Reads the key, for any header.
    ///
    /// # Errors
    /// [`SecretError`] names the source and what was wrong, and never contains a part of the key.
    pub fn read(&self, sources: &SecretSources) -> Result<ApiKey, SecretError> {
        self.read_by(&KeyReader::new(sources.clone(), false))
    }

    /// Reads the key for a registry.
    fn read_by(&self, reader: &KeyReader) -> Result<ApiKey, SecretError> {
        match self {
            Self::Env(name) => read_variable(name).map_err(|fault| SecretError::new(self.to_string(), fault)),
            Self::File(path) => file::read(path, reader.strict_permissions),
            Self::Confined(confined) => file::read_confined(confined, reader.strict_permissions),
            Self::Credential(name) => file::read_credential(name, reader.strict_permissions),
            Self::Exec(command) => exec::read(command, &reader.given_up),
            Self::Provider { provider, name } => self.ask(&reader.sources, provider, name),
        }
    }

    fn ask(&self, sources: &SecretSources, provider: &str, name: &str) -> Result<ApiKey, SecretError> {
        let error = |fault| SecretError::new(self.to_string(), fault);
        let source = sources.get(provider).ok_or_else(|| {
            let known: Vec<&str> = sources.names().collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            error(SecretErrorKind::UnknownProvider(known))
        })?;
        let secret = source.fetch(name).map_err(|refused| error(refused.fault().clone()))?;
        ApiKey::new(secret).map_err(error)
    }
}

#[expect(clippy::disallowed_methods, reason = "a variable is one of the sources")]
fn read_variable(name: &str) -> Result<ApiKey, SecretErrorKind> {
    let value = std::env::var_os(name).ok_or(SecretErrorKind::Unset)?;
    let text = value.into_string().map_err(|_| SecretErrorKind::NotUtf8)?;
    ApiKey::new(SecretString::from(text))
}

impl KeyOrigin {
    /// How long what was read holds. None if it holds until a receiver refuses it.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        match &self.source {
            KeySource::Exec(command) => command.lifetime,
            _ => None,
        }
    }

    /// Returns the error of a reading for which there is no thread.
    pub(crate) fn no_thread(&self, error: SystemError) -> SecretError {
        SecretError::new(self.source.to_string(), SecretErrorKind::NoThread(error))
    }

    /// Returns the error of a key of this origin that a receiver refuses. `before_is_taken`: it still takes the one before.
    pub(crate) fn refused_by_receiver(&self, status: KeyRefusalStatus, before_is_taken: bool) -> SecretError {
        let fault = if before_is_taken {
            SecretErrorKind::NotTaken(status)
        } else {
            SecretErrorKind::RefusedByReceiver(status)
        };
        SecretError::new(self.source.to_string(), fault)
    }
}
