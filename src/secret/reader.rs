//! How a registry reads keys: what it was told about them, and for which header.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{ApiKey, KeyRefusalStatus, KeyScheme, KeySource, SecretError, SecretErrorKind, SecretSources};
use crate::util::system_error::SystemError;

/// Reads keys for one registry.
#[derive(Clone, Debug)]
pub(crate) struct KeyReader {
    pub(super) sources: SecretSources,
    /// Files that every user may read or write are refused.
    pub(super) strict_permissions: bool,
    /// Commands that run are ended.
    pub(super) given_up: Arc<AtomicBool>,
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
