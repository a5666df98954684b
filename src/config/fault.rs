//! What is wrong with a configuration: every fault, each with its place.

use std::fmt;

use crate::util::printable::{printable, quoted_start};
use crate::util::serde_display::debug_as_display;

/// A configuration, or a part of one, that cannot be used, with everything that is wrong with it. Nothing was changed. `Debug`
/// prints the message.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Listing(.faults))]
pub struct ConfigError {
    faults: Vec<ConfigFault>,
}

debug_as_display!(ConfigError);

/// One fault: where it is, by file and key path, and which rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{message}", if .key.is_empty() { String::new() } else { format!("{}: ", .key) })]
pub struct ConfigFault {
    file: String,
    key: String,
    message: String,
}

impl ConfigError {
    /// Every fault, in the order of the layers and of their keys.
    pub fn faults(&self) -> &[ConfigFault] {
        &self.faults
    }
}

impl ConfigFault {
    /// The file, `the variables TRACER_REGISTRY__*`, or `the builder`.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The key path, such as `tenants.acme.endpoint`; empty where the file as a whole is meant.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The rule that is broken, and the value where that cannot be a secret.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The layers, in the order in which they are laid over one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    #[default]
    Default,
    Environment,
    Local,
    Variables,
    /// All of them together.
    Whole,
}

/// Collects the faults of one layer after another.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    layer: Layer,
    file: String,
    found: Vec<(Layer, ConfigFault)>,
    unread: bool,
    /// How many are reported; all if there is no bound.
    most: Option<usize>,
    left_out: usize,
}

/// How much of a key a path repeats, in characters.
const SHOWN_CHARS: usize = 64;

/// How many faults are reported of what a tenant may have written.
const MOST_OF_A_TENANT: usize = 50;

impl Faults {
    /// For what a tenant may have written: an error of it has a bound, however many faults there are.
    pub(crate) fn of_a_tenant() -> Self {
        Self {
            most: Some(MOST_OF_A_TENANT),
            ..Self::default()
        }
    }

    /// From here on, faults are in this file.
    pub(crate) fn enter(&mut self, layer: Layer, file: impl Into<String>) {
        self.layer = layer;
        self.file = printable(&file.into()).to_string();
    }

    /// From here on, faults are what an untrusted layer says and may not.
    pub(crate) fn enter_untrusted(&mut self, file: &str) {
        self.enter(Layer::Whole, file);
    }

    /// The layer that is being read.
    pub(crate) fn layer(&self) -> Layer {
        self.layer
    }

    /// Adds a fault. What names, paths and parsers bring along is escaped, so that a fault is one line.
    pub(crate) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        if self.most.is_some_and(|most| self.found.len() >= most) {
            self.left_out += 1;
            return;
        }
        let fault = ConfigFault {
            file: self.file.clone(),
            key: printable(&key.into()).to_string(),
            message: printable(&message.into()).to_string(),
        };
        self.found.push((self.layer, fault));
    }

    /// A fault of a whole file, of which nothing is known then.
    pub(crate) fn add_unread(&mut self, message: impl Into<String>) {
        self.unread = true;
        self.add("", message);
    }

    /// Whether a file could not be read: what seems to be missing may be in it.
    pub(crate) fn some_file_is_unread(&self) -> bool {
        self.unread
    }

    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = self.found;
        found.sort_by(|(one_layer, one), (other_layer, other)| {
            (one_layer, &one.file, &one.key).cmp(&(other_layer, &other.file, &other.key))
        });
        let mut faults: Vec<_> = found.into_iter().map(|(_, fault)| fault).collect();
        if self.left_out > 0 {
            faults.push(ConfigFault {
                file: self.file,
                key: String::new(),
                message: format!("{} more faults", self.left_out),
            });
        }
        Err(ConfigError { faults })
    }
}

/// A key of a path, quoted where TOML would want it so, and cut where it is long.
pub(crate) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=SHOWN_CHARS).contains(&key.len()) && key.chars().all(bare) {
        return key.to_owned();
    }
    quoted_start(key, SHOWN_CHARS)
}

struct Listing<'a>(&'a [ConfigFault]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} faults in the configuration", many.len())?;
                many.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}
