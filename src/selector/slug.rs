//! Names of tenants, environments and features, and the rules for them.

use crate::util::printable::quoted_start;
use crate::util::serde_display::debug_as_display;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// Maximum length of a name in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Maximum characters of an invalid name that an error shows.
const SHOWN_CHARS: usize = 32;

/// Name of a tenant, an environment or a feature.
///
/// 1 to 64 of `a-z 0-9 - _ .`, with a letter or digit at both ends and no `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Arc<str>);

/// Invalid [`Slug`]. Holds the start of the string, escaped and safe to print.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid name {shown}: {kind}; a name is 1 to 64 of a-z 0-9 - _ . with a letter or digit at both ends and no '..'"
)]
pub struct SlugError {
    shown: String,
    kind: SlugErrorKind,
}

debug_as_display!(SlugError);

/// Rule of [`Slug`] that a string breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlugErrorKind {
    /// The string is empty.
    #[error("empty")]
    Empty,
    /// The string is longer than 64 bytes. Carries its length.
    #[error("{0} bytes long")]
    TooLong(usize),
    /// The string contains a character that is not allowed, most often an upper-case letter.
    #[error("contains '{}'", .0.escape_default())]
    Character(char),
    /// The first or last character is `-`, `_` or `.`.
    #[error("starts or ends with '{0}'")]
    Edge(char),
    /// The string contains two dots in a row.
    #[error("contains '..'")]
    Dots,
}

impl Slug {
    /// Checks a string and creates a slug.
    ///
    /// # Errors
    /// Returns a [`SlugError`] with the broken rule.
    pub fn new(name: &str) -> Result<Self, SlugError> {
        match broken_rule(name) {
            None => Ok(Self(name.into())),
            Some(kind) => Err(SlugError {
                shown: quoted(name),
                kind,
            }),
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SlugError {
    /// Returns the broken rule.
    pub fn kind(&self) -> SlugErrorKind {
        self.kind
    }
}

fn broken_rule(name: &str) -> Option<SlugErrorKind> {
    if name.is_empty() {
        return Some(SlugErrorKind::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Some(SlugErrorKind::TooLong(name.len()));
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(invalid) = name.chars().find(|c| !allowed(*c)) {
        return Some(SlugErrorKind::Character(invalid));
    }
    let edges = [name.chars().next(), name.chars().next_back()];
    if let Some(edge) = edges.into_iter().flatten().find(|c| !c.is_ascii_alphanumeric()) {
        return Some(SlugErrorKind::Edge(edge));
    }
    name.contains("..").then_some(SlugErrorKind::Dots)
}

/// Returns the start of an untrusted string, quoted and escaped, for an error message.
pub(super) fn quoted(text: &str) -> String {
    quoted_start(text, SHOWN_CHARS)
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Deref for Slug {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

// `Borrow` allows look-ups by `&str` in maps keyed by slugs: a slug has the equality and hash of
// its text.
impl Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_follow_the_rules_and_everything_else_is_refused() {
        for good in ["a", "acme", "acme-eu", "acme_eu", "a.b", "0", "9-_.9", &"a".repeat(64)] {
            assert_eq!(Slug::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for (bad, kind) in [
            ("", SlugErrorKind::Empty),
            ("ACME", SlugErrorKind::Character('A')),
            ("../globex", SlugErrorKind::Character('/')),
            ("аcme", SlugErrorKind::Character('а')),
            ("acme\n", SlugErrorKind::Character('\n')),
            ("acme\0", SlugErrorKind::Character('\0')),
            ("a b", SlugErrorKind::Character(' ')),
            ("-acme", SlugErrorKind::Edge('-')),
            ("acme.", SlugErrorKind::Edge('.')),
            (".", SlugErrorKind::Edge('.')),
            ("a..b", SlugErrorKind::Dots),
            ("*", SlugErrorKind::Character('*')),
            ("{tenant}", SlugErrorKind::Character('{')),
        ] {
            assert_eq!(Slug::new(bad).map_err(|error| error.kind()), Err(kind), "{bad:?}");
        }
        let long = "a".repeat(300);
        let error = Slug::new(&long).expect_err("too long");
        assert_eq!(error.kind(), SlugErrorKind::TooLong(300));
        assert!(
            error.to_string().len() < 300,
            "the error shows only the start of the name: {error}"
        );
    }
}
