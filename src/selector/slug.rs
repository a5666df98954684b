//! Names: which texts they are, and what is wrong with the others.

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
pub struct Name(Arc<str>);

/// Why a string is no [`Name`]. Carries the string cut and escaped, so that it is safe to print.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown} is not a name: {fault}; a name is 1 to 64 of a-z 0-9 - _ . that starts and ends with a letter or digit, without '..'"
)]
pub struct NameError {
    shown: String,
    fault: NameFault,
}

debug_as_display!(NameError);

/// Which rule of [`Name`] a string breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
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

impl Name {
    /// Checks a string against the rules of names.
    ///
    /// # Errors
    /// [`NameError`] says which rule the string breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match fault_of(name) {
            None => Ok(Self(name.into())),
            Some(fault) => Err(NameError {
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

impl NameError {
    /// Which rule was broken.
    pub fn fault(&self) -> NameFault {
        self.fault
    }
}

fn fault_of(name: &str) -> Option<NameFault> {
    if name.is_empty() {
        return Some(NameFault::Empty);
    }
    if name.len() > MAX_NAME_LEN {
        return Some(NameFault::TooLong(name.len()));
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Some(NameFault::Character(wrong));
    }
    let edges = [name.chars().next(), name.chars().next_back()];
    if let Some(edge) = edges.into_iter().flatten().find(|c| !c.is_ascii_alphanumeric()) {
        return Some(NameFault::Edge(edge));
    }
    name.contains("..").then_some(NameFault::Dots)
}

/// A string from outside as a message may show it: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
    // Escaped to ASCII: a look-alike letter would otherwise be shown as the letter it imitates.
    let cut: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(SHOWN_CHARS).is_some() {
        "..."
    } else {
        ""
    };
    format!("\"{cut}{more}\"")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

// `Borrow` lets a map keyed by names be asked by a plain `&str`: equality and hash of a name are those of its text.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

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
            assert_eq!(Name::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for (bad, fault) in [
            ("", NameFault::Empty),
            ("ACME", NameFault::Character('A')),
            ("../globex", NameFault::Character('/')),
            ("аcme", NameFault::Character('а')),
            ("acme\n", NameFault::Character('\n')),
            ("acme\0", NameFault::Character('\0')),
            ("a b", NameFault::Character(' ')),
            ("-acme", NameFault::Edge('-')),
            ("acme.", NameFault::Edge('.')),
            (".", NameFault::Edge('.')),
            ("a..b", NameFault::Dots),
            ("*", NameFault::Character('*')),
            ("{tenant}", NameFault::Character('{')),
        ] {
            assert_eq!(Name::new(bad).map_err(|error| error.fault()), Err(fault), "{bad:?}");
        }
        let long = "a".repeat(300);
        let error = Name::new(&long).expect_err("too long");
        assert_eq!(error.fault(), NameFault::TooLong(300));
        assert!(error.to_string().len() < 300, "a refused name is cut: {error}");
    }
}
