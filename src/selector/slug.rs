//! Names: which texts they are, and what is wrong with the others.

use crate::util::printable::quoted_start;
use crate::util::serde_display::debug_as_display;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes.
const MAX_NAME_LEN: usize = 64;

/// How much of a refused name an error repeats, in characters.
const SHOWN_CHARS: usize = 32;

/// A tenant slug, an environment's name or a feature's name.
///
/// 1 to 64 of `a-z 0-9 - _ .`, first and last alphanumeric, no `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Arc<str>);

/// Why a string is no [`Slug`]. Carries the string cut and escaped, so that it is safe to print.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown} is not a name: {fault}; a name is 1 to 64 of a-z 0-9 - _ . that starts and ends with a letter or digit, without '..'"
)]
pub struct SlugError {
    shown: String,
    fault: SlugErrorKind,
}

debug_as_display!(SlugError);

/// Which rule of [`Slug`] a string breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlugErrorKind {
    /// The string is empty.
    #[error("it is empty")]
    Empty,
    /// The string is longer than 64 bytes.
    #[error("it is {0} bytes long")]
    TooLong(usize),
    /// A character that is not allowed; the most usual case is an upper-case letter.
    #[error("it contains '{}'", .0.escape_default())]
    Character(char),
    /// The first or last character is `-`, `_` or `.`.
    #[error("it starts or ends with '{0}'")]
    Edge(char),
    /// Two dots in a row.
    #[error("it contains '..'")]
    Dots,
}

impl Slug {
    /// Checks a string against the rules of names.
    ///
    /// # Errors
    /// [`SlugError`] says which rule the string breaks.
    pub fn new(name: &str) -> Result<Self, SlugError> {
        match fault_of(name) {
            None => Ok(Self(name.into())),
            Some(fault) => Err(SlugError {
                shown: shown(name),
                fault,
            }),
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SlugError {
    /// Which rule was broken.
    pub fn fault(&self) -> SlugErrorKind {
        self.fault
    }
}

fn fault_of(name: &str) -> Option<SlugErrorKind> {
    if name.is_empty() {
        return Some(SlugErrorKind::Empty);
    }
    if name.len() > MAX_NAME_LEN {
        return Some(SlugErrorKind::TooLong(name.len()));
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Some(SlugErrorKind::Character(wrong));
    }
    let edges = [name.chars().next(), name.chars().next_back()];
    if let Some(edge) = edges.into_iter().flatten().find(|c| !c.is_ascii_alphanumeric()) {
        return Some(SlugErrorKind::Edge(edge));
    }
    name.contains("..").then_some(SlugErrorKind::Dots)
}

/// A string from outside as a message may show it: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
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

// `Borrow` lets a map keyed by names be asked by a plain `&str`: equality and hash of a name are those of its text.
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
    fn names_follow_the_rules_and_nothing_else_is_a_name() {
        for good in ["a", "acme", "acme-eu", "acme_eu", "a.b", "0", "9-_.9", &"a".repeat(64)] {
            assert_eq!(Slug::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for (bad, fault) in [
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
            assert_eq!(Slug::new(bad).map_err(|error| error.fault()), Err(fault), "{bad:?}");
        }
        let long = "a".repeat(300);
        let error = Slug::new(&long).expect_err("too long");
        assert_eq!(error.fault(), SlugErrorKind::TooLong(300));
        assert!(error.to_string().len() < 300, "a refused name is cut: {error}");
    }
}
