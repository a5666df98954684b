//! Names, and what a caller asks for by them.
//!
//! Knows nothing of the rest of the crate. The invariant it owns: a [`Name`] is one that may become a part of a path, a
//! variable's name or a header without meaning anything there, and two names that differ are different bytes everywhere
//! (lower-case ASCII only, so there are no look-alikes and nothing to fold).

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown} is not a name: {fault}; a name is 1 to 64 of a-z 0-9 - _ . that starts and ends with a letter or digit, without '..'"
)]
pub struct NameError {
    shown: String,
    fault: NameFault,
}

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
fn shown(text: &str) -> String {
    // Escaped to ASCII: a look-alike letter would otherwise be shown as the letter it imitates.
    let cut: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(SHOWN_CHARS).is_some() {
        "..."
    } else {
        ""
    };
    format!("\"{cut}{more}\"")
}

/// One of the three kinds of names that a [`Selector`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `environment:production`
    Environment,
    /// `feature:search`
    Feature,
    /// `tenant:acme`
    Tenant,
}

impl Part {
    /// All parts, in the order in which their bindings are merged.
    pub const ALL: [Self; 3] = [Self::Environment, Self::Feature, Self::Tenant];

    /// The word for it: `environment`, `feature` or `tenant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Feature => "feature",
            Self::Tenant => "tenant",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tracer is asked for by: a tenant, an environment, a feature, or several of them at once.
///
/// Written as `tenant:acme`, or `environment:production,tenant:acme` where it has several parts; the order of the parts is
/// fixed, so that equal selectors are equal texts.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    environment: Option<Name>,
    feature: Option<Name>,
    tenant: Option<Name>,
}

/// A [`Selector`] as the caller wrote it, with names not yet checked.
///
/// Made by [`Selector::tenant`] and its like and taken wherever a selector is taken; names are checked there, so that
/// `registry.get(Selector::tenant(slug).feature("search"))` is one expression with one error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorParts {
    parts: [Option<String>; 3],
}

/// Why something is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A part's name breaks the rules of names.
    #[error("{part}: {source}")]
    Name {
        /// The part with the wrong name.
        part: Part,
        /// What is wrong with it.
        source: NameError,
    },
    /// A selector without any part.
    #[error("a selector needs a tenant, an environment or a feature")]
    Empty,
    /// A text that is not `part:name[,part:name...]`.
    #[error("{0} is not a selector; one is written like tenant:acme or environment:production,tenant:acme")]
    Syntax(String),
}

impl Selector {
    /// Starts a selector from a tenant slug.
    pub fn tenant(name: &str) -> SelectorParts {
        SelectorParts::default().tenant(name)
    }

    /// Starts a selector from an environment's name.
    pub fn environment(name: &str) -> SelectorParts {
        SelectorParts::default().environment(name)
    }

    /// Starts a selector from a feature's name.
    pub fn feature(name: &str) -> SelectorParts {
        SelectorParts::default().feature(name)
    }

    /// A selector of one part.
    pub fn of(part: Part, name: Name) -> Self {
        let mut selector = Self::default();
        *selector.slot(part) = Some(name);
        selector
    }

    /// The name of a part, where the selector has that part.
    pub fn get(&self, part: Part) -> Option<&Name> {
        match part {
            Part::Environment => self.environment.as_ref(),
            Part::Feature => self.feature.as_ref(),
            Part::Tenant => self.tenant.as_ref(),
        }
    }

    /// The parts it has, in the order in which their bindings are merged.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Name)> {
        Part::ALL
            .into_iter()
            .filter_map(|part| self.get(part).map(|name| (part, name)))
    }

    /// The only part, where there is just one.
    pub fn single(&self) -> Option<(Part, &Name)> {
        let mut parts = self.parts();
        let first = parts.next()?;
        parts.next().is_none().then_some(first)
    }

    /// Whether every part of `other` is a part of this one.
    pub fn contains(&self, other: &Self) -> bool {
        other.parts().all(|(part, name)| self.get(part) == Some(name))
    }

    fn slot(&mut self, part: Part) -> &mut Option<Name> {
        match part {
            Part::Environment => &mut self.environment,
            Part::Feature => &mut self.feature,
            Part::Tenant => &mut self.tenant,
        }
    }
}

impl SelectorParts {
    /// Adds or replaces the tenant.
    pub fn tenant(self, name: &str) -> Self {
        self.with(Part::Tenant, name)
    }

    /// Adds or replaces the environment.
    pub fn environment(self, name: &str) -> Self {
        self.with(Part::Environment, name)
    }

    /// Adds or replaces the feature.
    pub fn feature(self, name: &str) -> Self {
        self.with(Part::Feature, name)
    }

    /// The name of a part as written, not checked.
    pub fn get(&self, part: Part) -> Option<&str> {
        self.parts[part as usize].as_deref()
    }

    fn with(mut self, part: Part, name: &str) -> Self {
        self.parts[part as usize] = Some(name.to_owned());
        self
    }
}

impl TryFrom<&SelectorParts> for Selector {
    type Error = SelectorError;

    fn try_from(written: &SelectorParts) -> Result<Self, Self::Error> {
        let mut selector = Self::default();
        for part in Part::ALL {
            if let Some(name) = &written.parts[part as usize] {
                let name = Name::new(name).map_err(|source| SelectorError::Name { part, source })?;
                *selector.slot(part) = Some(name);
            }
        }
        if selector == Self::default() {
            return Err(SelectorError::Empty);
        }
        Ok(selector)
    }
}

impl TryFrom<SelectorParts> for Selector {
    type Error = SelectorError;

    fn try_from(written: SelectorParts) -> Result<Self, Self::Error> {
        Self::try_from(&written)
    }
}

impl TryFrom<&Selector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &Selector) -> Result<Self, Self::Error> {
        Ok(selector.clone())
    }
}

// A selector is taken wherever something is that may be none: every selector is a selector.
impl From<Infallible> for SelectorError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || SelectorError::Syntax(shown(text));
        let mut written = SelectorParts::default();
        for piece in text.split(',') {
            let (word, name) = piece.split_once(':').ok_or_else(syntax)?;
            let part = Part::ALL
                .into_iter()
                .find(|part| part.as_str() == word)
                .ok_or_else(syntax)?;
            if written.parts[part as usize].replace(name.to_owned()).is_some() {
                return Err(syntax());
            }
        }
        Self::try_from(written)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, name)) in self.parts().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{part}:{name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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

    #[test]
    fn a_selector_is_the_same_text_in_whatever_order_it_was_written() {
        let one = Selector::try_from(Selector::tenant("acme").environment("staging")).expect("valid");
        let two = Selector::try_from(Selector::environment("staging").tenant("acme")).expect("valid");
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "environment:staging,tenant:acme");
        assert_eq!("tenant:acme,environment:staging".parse(), Ok(one));
    }

    #[test]
    fn texts_that_are_no_selectors_are_refused() {
        for bad in [
            "",
            "acme",
            "tenant:",
            "tenant:acme,",
            "tenant:a,tenant:b",
            "project:a",
            "tenant:a:b",
        ] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
        assert_eq!(Selector::try_from(SelectorParts::default()), Err(SelectorError::Empty));
    }
}
