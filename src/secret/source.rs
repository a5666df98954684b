//! Where a key comes from, as configured, and how it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::{ConfinedFile, KeyCommand, SecretError, file};
use crate::util::printable::{printable, printable_path};

/// A place that keys are read from: at the first look-up of a tracer, on the thread that looks it up, and again in the background when the key
/// may be another one.
///
/// `Display` and `Debug` name the place, without the arguments of a command: a token for the secret manager may be among them.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// An environment variable of the process.
    Env(String),
    /// A file; one newline at its end is not part of the key.
    File(PathBuf),
    /// A file that an untrusted layer names, as far as the operator allows it.
    Confined(ConfinedFile),
    /// A systemd credential: a file of that name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A command that prints the key.
    Exec(KeyCommand),
    /// A [`SecretSource`] of the program, by the name it was given to the builder with, and what to ask it for.
    Provider {
        /// The source's name.
        provider: String,
        /// The secret's name in it.
        name: String,
    },
}

/// A secret manager of the program's own.
///
/// Given to the registry's builder under a name, and used by bindings whose key is `{ provider = "<that name>", name = "..." }`.
/// Closures of the same shape are sources too.
///
/// `fetch` is called on the thread that looks a tracer up, outside any lock, once per tracer that is made. It may block; other
/// look-ups of the same tracer wait for it, all others go on. It must not look up tracers of the same registry. It is called again, on a
/// thread of the registry's, if a receiver refuses the key.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads the secret of that name.
    ///
    /// # Errors
    /// [`SecretError::refused`] with a message that says why, without the secret.
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

/// The program's own [`SecretSource`]s by name.
#[derive(Clone, Default)]
pub struct SecretSources(BTreeMap<String, Arc<dyn SecretSource>>);

impl SecretSources {
    /// Adds a source, in place of an earlier one of that name.
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
    /// The environment variable of that name.
    pub fn env(name: impl Into<String>) -> Self {
        Self::Env(name.into())
    }

    /// The file at that path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// A secret of a [`SecretSource`] that the program gave to the registry's builder.
    pub fn provider(provider: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Provider {
            provider: provider.into(),
            name: name.into(),
        }
    }

    /// The file that the key is in, if it is in one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Confined(file) => Some(file.path().to_owned()),
            Self::Credential(name) => file::credential(name).ok(),
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
