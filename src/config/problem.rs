//! Problems of a configuration, each with its file and key path.

use std::fmt;

use crate::util::printable::{printable, quoted_start};
use crate::util::serde_display::debug_as_display;

/// Invalid configuration, or invalid part of one, with every problem found. No state was changed.
/// `Debug` prints the message.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Listing(.problems))]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

debug_as_display!(ConfigError);

/// A problem: its file and key path, and the broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{message}", if .key.is_empty() { String::new() } else { format!("{}: ", .key) })]
pub struct ConfigProblem {
    file: String,
    key: String,
    message: String,
}

impl ConfigError {
    /// All problems, ordered by layer, file and key path.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl ConfigProblem {
    /// Name of the file, `the variables TRACER_REGISTRY__*`, or `the builder`.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Key path, such as `tenants.acme.endpoint`. Empty if the problem concerns the whole file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Broken rule, with the value if it cannot be a secret.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Layers, in the order in which they are overlaid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    #[default]
    Default,
    Environment,
    /// Only in a configuration that is read for the gateway.
    Gateway,
    Local,
    Variables,
    /// The merged configuration.
    Whole,
}

impl Layer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "the default file",
            Self::Environment => "the file of the active environment",
            Self::Gateway => "the file of the gateway",
            Self::Local => "the local file",
            Self::Variables => "the variables TRACER_REGISTRY__*",
            Self::Whole => "the configuration",
        }
    }
}

/// Collects the problems of one layer after another.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    layer: Layer,
    file: String,
    found: Vec<(Layer, ConfigProblem)>,
    unread: bool,
    /// Maximum number to report; `None` if unlimited.
    limit: Option<usize>,
    omitted: usize,
}

/// Maximum characters of a key that a path shows.
const SHOWN_CHARS: usize = 64;

/// Maximum problems reported for input that a tenant may have written.
const TENANT_LIMIT: usize = 50;

impl Problems {
    /// For input that a tenant may have written: limits the number of reported problems.
    pub(crate) fn for_tenant() -> Self {
        Self {
            limit: Some(TENANT_LIMIT),
            ..Self::default()
        }
    }

    /// Sets the layer and file of the problems added next.
    pub(crate) fn enter(&mut self, layer: Layer, file: impl Into<String>) {
        self.layer = layer;
        self.file = printable(&file.into()).to_string();
    }

    /// Attributes the problems added next to an untrusted layer.
    pub(crate) fn enter_untrusted(&mut self, file: &str) {
        self.enter(Layer::Whole, file);
    }

    /// Returns the current layer.
    pub(crate) fn layer(&self) -> Layer {
        self.layer
    }

    /// Returns the current file.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Adds a problem. Escapes key and message, so that a problem is one line.
    pub(crate) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        if self.limit.is_some_and(|limit| self.found.len() >= limit) {
            self.omitted += 1;
            return;
        }
        let problem = ConfigProblem {
            file: self.file.clone(),
            key: printable(&key.into()).to_string(),
            message: printable(&message.into()).to_string(),
        };
        self.found.push((self.layer, problem));
    }

    /// Adds a problem of a file that could not be read at all.
    pub(crate) fn add_unread(&mut self, message: impl Into<String>) {
        self.unread = true;
        self.add("", message);
    }

    /// Returns whether a file could not be read. Settings that seem to be missing may be in it.
    pub(crate) fn has_unread_file(&self) -> bool {
        self.unread
    }

    /// Returns whether a key has a problem.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.found.iter().any(|(_, problem)| problem.key == key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = self.found;
        found.sort_by(|(one_layer, one), (other_layer, other)| {
            (one_layer, &one.file, &one.key).cmp(&(other_layer, &other.file, &other.key))
        });
        let mut problems: Vec<_> = found.into_iter().map(|(_, problem)| problem).collect();
        if self.omitted > 0 {
            problems.push(ConfigProblem {
                file: self.file,
                key: String::new(),
                message: format!("{} more errors", self.omitted),
            });
        }
        Err(ConfigError { problems })
    }
}

/// Returns a key for use in a path: quoted if TOML requires it, and shortened if long.
pub(crate) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=SHOWN_CHARS).contains(&key.len()) && key.chars().all(bare) {
        return key.to_owned();
    }
    quoted_start(key, SHOWN_CHARS)
}

struct Listing<'a>(&'a [ConfigProblem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} errors in the configuration", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
