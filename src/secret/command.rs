//! Configuration of a command that prints a key.

use std::fmt;
use std::time::Duration;

/// A command that prints a key, for any secret manager with a command line. Runs without a shell;
/// Unix only.
///
/// The command has no standard input and its own process group. Its environment is `PATH`, `HOME`
/// and `LANG`, plus the variables named by [`pass_env`](Self::pass_env). It must print one line of
/// at most 8 KiB.
///
/// `Debug` shows the program without its arguments, which may contain a token for the secret
/// manager.
///
/// ```
/// use std::time::Duration;
/// use tracer_registry::config::Binding;
/// use tracer_registry::KeySource;
/// use tracer_registry::secret::KeyCommand;
///
/// let vault = KeyCommand::new(["vault", "kv", "get", "-field=key", "secret/tenants/{tenant}"])
///     .pass_env(["VAULT_ADDR", "VAULT_TOKEN"])
///     .lifetime(Duration::from_secs(600));
/// let binding = Binding::new().api_key(KeySource::Exec(vault));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyCommand {
    pub(crate) words: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) pass_env: Vec<String>,
    pub(crate) show_stderr: bool,
}

impl KeyCommand {
    /// Creates a command from a program and its arguments.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(10),
            lifetime: None,
            pass_env: Vec::new(),
            show_stderr: false,
        }
    }

    /// Sets the maximum run time, up to 24 hours. The command is then killed with its process
    /// group. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the printed key is valid. The command runs again after three quarters of that
    /// time. Default: it runs again only if a receiver refuses the key.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Adds environment variables of this process to pass to the command, such as `VAULT_TOKEN`.
    /// Unset variables are skipped. Default: none.
    pub fn pass_env(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.pass_env.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets whether an error shows the start of the command's standard error, without control
    /// characters and without the values of passed variables. Errors appear in status and logs, so
    /// leave this off for a command that may print a secret. Default: false.
    pub fn show_stderr(mut self, show: bool) -> Self {
        self.show_stderr = show;
        self
    }

    /// Returns the program. If it holds a whole command line, returns only its first word, because
    /// the rest may contain a token.
    pub(super) fn program(&self) -> &str {
        let first = self.words.first().map(|program| program.split_whitespace().next());
        first.flatten().unwrap_or_default()
    }
}

impl fmt::Display for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}", self.program())
    }
}

impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
