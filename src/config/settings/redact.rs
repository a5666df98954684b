//! `redact`: what is removed from data before it is stored or sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::problem::{Problems, quoted};
use crate::config::read::table::Table;
use crate::config::rules::values::needs_feature;
use crate::config::settings::declare::table;
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::{Entry, Fields as _, impl_setting};
use crate::secret::KeySource;

/// Most rules of one table.
const MAX_RULES: usize = 64;

/// Longest name of a rule, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Most globs, and most regular expressions, of one table.
const MAX_GLOBS: usize = 256;
const MAX_REGEXES: usize = 32;

/// Longest glob and regular expression, in bytes.
const MAX_GLOB_BYTES: usize = 256;
const MAX_REGEX_BYTES: usize = 4096;

/// Size of a compiled regular expression, of its cache on each thread that uses it, and its deepest
/// nesting.
#[cfg(feature = "redact")]
const MAX_REGEX_SIZE: usize = 512 << 10;
#[cfg(feature = "redact")]
const MAX_REGEX_NESTING: u32 = 64;

table! {
    /// What is removed from data before it is stored or sent. Requires the feature `redact`.
    ///
    /// Rules of all tables of a selector apply together, also those with the same name.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Redact {
        /// Source of the key of hashes, at least 16 bytes. Required by rules that hash.
        #[schema(with = "Option<schema_types::KeySource>")]
        pub(crate) key: Option<KeySource>,
        /// Whether patterns also apply to the names of spans and events. Default: false.
        #[untrusted(checked)]
        pub(crate) names: Option<bool>,
        /// Rules by name.
        #[untrusted(free)]
        pub(crate) rules: BTreeMap<String, RedactRule>,
    }
}

table! {
    /// A rule of redaction. With `attributes` alone, it applies to whole values of these
    /// attributes. With `patterns` or `regex` alone, it applies to the texts that match, in all
    /// values. With both, to the texts that match in these attributes.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RedactRule {
        /// Keys of attributes, in which `*` matches any characters: `"gen_ai.prompt*"`,
        /// `"*.password"`. They also match the members of JSON texts, by name and by path.
        pub(crate) attributes: Option<Vec<String>>,
        /// Built-in patterns.
        pub(crate) patterns: Option<Vec<Pattern>>,
        /// Regular expressions in the syntax of the crate `regex`. They take linear time.
        pub(crate) regex: Option<Vec<String>>,
        /// What happens to the value or the text. Default: replace.
        pub(crate) action: Option<RedactAction>,
    }
}

/// A built-in pattern of redaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pattern {
    /// E-mail addresses, also with `%40` for `@`.
    Email,
    /// Telephone numbers: international with `+` or `00`, and common national forms with
    /// separators.
    Phone,
    /// Card numbers of 12 to 19 digits with a valid Luhn checksum, also with separators.
    Card,
    /// International bank account numbers with a valid checksum, also with spaces.
    Iban,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// JSON Web Tokens.
    Jwt,
    /// API keys of well-known forms, such as `sk-..`, `ghp_..` and `AKIA..`.
    ApiKey,
}

/// What a rule of redaction does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RedactAction {
    /// Replaces it by a keyed hash (HMAC-SHA-256): equal within a tenant, and nowhere else.
    Hash,
    /// Replaces it by `[redacted]`.
    #[default]
    Replace,
    /// Removes the attribute, or empties the text that is no attribute.
    Drop,
}

impl_setting! {
    Vec<Pattern>: |table: &mut Table<'_>, name| table.take(
        name,
        "a list of \"email\", \"phone\", \"card\", \"iban\", \"ip\", \"jwt\", \"api_key\"",
    );
    RedactAction: Table::choose;
}

impl Entry for RedactRule {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self> {
        let mut table = Table::new(value, path, table.folder, table.problems)?;
        let rule = Self::take_fields(&mut table);
        table.finish();
        Some(rule)
    }
}

impl Redact {
    /// Creates a set without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the source of the key of hashes.
    pub fn key(mut self, source: KeySource) -> Self {
        self.key = Some(source);
        self
    }

    /// Sets whether patterns also apply to the names of spans and events. Default: false.
    pub fn names(mut self, names: bool) -> Self {
        self.names = Some(names);
        self
    }

    /// Adds a rule. Replaces an earlier one with this name.
    pub fn rule(mut self, name: impl Into<String>, rule: RedactRule) -> Self {
        self.rules.insert(name.into(), rule);
        self
    }

    /// Adds a problem for each invalid setting.
    pub(crate) fn check_rules(&self, path: &str, problems: &mut Problems) {
        if cfg!(not(feature = "redact")) && *self != Self::default() {
            problems.add(path.to_owned(), needs_feature("redaction", "redact"));
            return;
        }
        let lengths = |list: fn(&RedactRule) -> usize| self.rules.values().map(list).sum::<usize>();
        let globs = lengths(|rule| rule.attributes.as_ref().map_or(0, Vec::len));
        let regexes = lengths(|rule| rule.regex.as_ref().map_or(0, Vec::len));
        for (what, count, max) in [
            ("rules", self.rules.len(), MAX_RULES),
            ("attributes", globs, MAX_GLOBS),
            ("regular expressions", regexes, MAX_REGEXES),
        ] {
            if count > max {
                problems.add(
                    format!("{path}.rules"),
                    format!("{count} {what}, more than the {max} of a table"),
                );
            }
        }
        // A thousand regular expressions are not compiled to report that they are too many.
        let are_few = regexes <= MAX_REGEXES;
        for (name, rule) in &self.rules {
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                let message = format!("the name of a rule must have 1 to {MAX_NAME_BYTES} bytes");
                problems.add(format!("{path}.rules"), message);
                continue;
            }
            for (setting, message) in rule.problems(are_few) {
                problems.add(format!("{path}.rules.{}{setting}", quoted(name)), message);
            }
        }
    }
}

/// Compiles a regular expression.
///
/// # Errors
/// Returns a message without the text of the expression, which may contain a secret.
#[cfg(feature = "redact")]
pub(crate) fn redact_regex(text: &str) -> Result<regex::Regex, String> {
    if text.is_empty() || text.len() > MAX_REGEX_BYTES {
        return Err(format!("a regular expression must have 1 to {MAX_REGEX_BYTES} bytes"));
    }
    let compiled = regex::RegexBuilder::new(text)
        .size_limit(MAX_REGEX_SIZE)
        .dfa_size_limit(MAX_REGEX_SIZE)
        .nest_limit(MAX_REGEX_NESTING)
        .build();
    compiled.map_err(|error| match error {
        // The message has the expression first, and the reason in its last line.
        regex::Error::Syntax(message) => {
            let reason = message
                .rsplit_once("error: ")
                .map_or("syntax error", |(_, reason)| reason);
            format!("not a regular expression of the crate regex: {reason}")
        }
        _ => format!("a regular expression that compiles to more than {MAX_REGEX_SIZE} bytes"),
    })
}

impl RedactRule {
    /// Creates a rule without attributes and patterns. It must get one of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds keys of attributes, in which `*` matches any characters.
    pub fn attribute(mut self, glob: impl Into<String>) -> Self {
        self.attributes.get_or_insert_default().push(glob.into());
        self
    }

    /// Adds a built-in pattern.
    pub fn pattern(mut self, pattern: Pattern) -> Self {
        self.patterns.get_or_insert_default().push(pattern);
        self
    }

    /// Adds a regular expression in the syntax of the crate `regex`. Checked when the registry is
    /// built.
    pub fn regex(mut self, regex: impl Into<String>) -> Self {
        self.regex.get_or_insert_default().push(regex.into());
        self
    }

    /// Sets what happens to the value or the text. Default: replace.
    pub fn action(mut self, action: RedactAction) -> Self {
        self.action = Some(action);
        self
    }

    /// Returns the setting of each problem, with its leading dot, and a message. `compile`: whether
    /// to compile regular expressions.
    fn problems(&self, compile: bool) -> Vec<(String, String)> {
        let (attributes, regex) = (self.attributes.as_deref(), self.regex.as_deref());
        let mut problems = Vec::new();
        let is_empty = |list: Option<usize>| list.is_none_or(|length| length == 0);
        if is_empty(attributes.map(<[_]>::len))
            && is_empty(regex.map(<[_]>::len))
            && is_empty(self.patterns.as_deref().map(<[_]>::len))
        {
            problems.push((String::new(), "a rule needs attributes, patterns or regex".to_owned()));
        }
        for (index, glob) in attributes.into_iter().flatten().enumerate() {
            if glob.is_empty() || glob.len() > MAX_GLOB_BYTES {
                let message = format!("the key of an attribute must have 1 to {MAX_GLOB_BYTES} bytes");
                problems.push((format!(".attributes[{index}]"), message));
            }
        }
        #[cfg(feature = "redact")]
        for (index, text) in regex.into_iter().flatten().enumerate().filter(|_| compile) {
            if let Err(message) = redact_regex(text) {
                problems.push((format!(".regex[{index}]"), message));
            }
        }
        #[cfg(not(feature = "redact"))]
        let _ = (compile, MAX_REGEX_BYTES);
        problems
    }
}
