//! A command that prints a key, as configured.

use std::fmt;
use std::time::Duration;

/// A command that prints a key: the way to any secret manager that has a command line. Run without a shell; Unix only.
///
/// The command has no standard input and a process group of its own. Of the environment it gets `PATH`, `HOME` and `LANG`, and the variables
/// that [`pass_env`](Self::pass_env) names. It prints one line, of at most 8 KiB.
///
/// `Debug` names the program, without its arguments: a token for the secret manager may be among them.
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
    /// A program and its arguments.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(10),
            lifetime: None,
            pass_env: Vec::new(),
            show_stderr: false,
        }
    }

    /// How long it may take, up to 24 hours. Then it is killed, with all processes of its group. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long what it printed holds: it is run again when three quarters of that are over. Default: it is run again only if a receiver
    /// refuses the key.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Names of variables of this process that it gets too, such as `VAULT_TOKEN`. One that is not set is not passed. Default: none.
    pub fn pass_env(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.pass_env.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether an error shows the start of its standard error, without control characters and without the values of the variables that it
    /// was passed. Errors are in status and logs, so leave it off for a command that may print a secret. Default: false.
    pub fn show_stderr(mut self, show: bool) -> Self {
        self.show_stderr = show;
        self
    }

    /// The program. If a whole command line stands in its place, only the first word of it: a token may be among the others.
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
