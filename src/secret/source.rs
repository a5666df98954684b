//! Key sources as configured.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::{ConfinedFile, KeyCommand, SecretError, file};
use crate::util::printable::{printable, printable_path};

/// A source of API keys.
///
/// The look-up that creates a tracer reads the key: a blocking look-up on its thread, an async one
/// on a blocking thread of the runtime. When the key may have changed, a background thread of the
/// registry reads it again.
///
/// `Display` and `Debug` show the source without a command's arguments, which may contain a token
/// for the secret manager.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// An environment variable of the process.
    Env(String),
    /// A file. One newline at its end is not part of the key.
    File(PathBuf),
    /// A file that an untrusted binding names and the operator's `[untrusted]` allows.
    Confined(ConfinedFile),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A command that prints the key.
    Exec(KeyCommand),
    /// A [`SecretSource`] registered with the registry's builder.
    Provider {
        /// Name of the source in the builder.
        provider: String,
        /// Name of the secret in that source.
        name: String,
    },
}

/// A custom source of secrets, such as a secret manager.
///
/// Register it under a name with the registry's builder. Bindings with the key `{ provider =
/// "<that name>", name = "..." }` use it. Closures with the signature of `fetch` implement it.
///
/// The registry calls `fetch` without holding a lock:
///
/// - when it creates a tracer, on the thread that creates it (see [`KeySource`]);
/// - when a receiver refuses the key, on a background thread.
///
/// `fetch` may block. Other look-ups of the same tracer then wait; those of other tracers do not.
/// It must not look up tracers of the same registry.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads the secret of that name.
    ///
    /// # Errors
    /// [`SecretError::refused`] with the reason, which must not contain the secret.
    fn fetch(&self, name: &str) -> Result<SecretString, SecretError>;
}

impl<F> SecretSource for F
where
    F: Fn(&str) -> Result<SecretString, SecretError> + Send + Sync + 'static,
{
    fn fetch(&self, name: &str) -> Result<SecretString, SecretError> {
        self(name)
    }
}

/// Custom [`SecretSource`]s by name.
#[derive(Clone, Default)]
pub struct SecretSources(BTreeMap<String, Arc<dyn SecretSource>>);

impl SecretSources {
    /// Adds a source. Replaces an earlier source of that name.
    pub fn insert(&mut self, name: impl Into<String>, source: impl SecretSource) {
        self.0.insert(name.into(), Arc::new(source));
    }

    pub(super) fn get(&self, name: &str) -> Option<&dyn SecretSource> {
        self.0.get(name).map(AsRef::as_ref)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl KeySource {
    /// Creates a source from an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self::Env(name.into())
    }

    /// Creates a source from a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// Creates a source from a [`SecretSource`] registered with the registry's builder.
    pub fn provider(provider: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Provider {
            provider: provider.into(),
            name: name.into(),
        }
    }

    /// Returns the path of the key's file, if the source is a file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Confined(file) => Some(file.path().to_owned()),
            Self::Credential(name) => file::credential_path(name).ok(),
            Self::Env(_) | Self::Exec(_) | Self::Provider { .. } => None,
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {}", printable(name)),
            Self::File(path) => write!(f, "file {}", printable_path(path)),
            Self::Confined(file) => write!(f, "file {}", printable_path(file.path())),
            Self::Credential(name) => write!(f, "credential {}", printable(name)),
            Self::Exec(command) => write!(f, "{}", printable(&command.to_string())),
            Self::Provider { provider, name } => {
                write!(f, "provider {}, secret {}", printable(provider), printable(name))
            }
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SecretSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
