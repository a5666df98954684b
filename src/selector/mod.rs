//! Slugs, and the selectors that callers look up tracers with.
//!
//! Independent of the rest of the crate. Invariant of this module: a [`Slug`] is safe as part of a
//! path, a variable name or a header, and different slugs are different bytes everywhere. They are
//! lower-case ASCII only, so there are no look-alikes and no case folding.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod slug;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::util::serde_display::debug_as_display;
use slug::quoted;
pub use slug::{Slug, SlugError, SlugErrorKind};

/// Kind of a name in a [`Selector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelectorKind {
    /// `environment:production`
    Environment,
    /// `feature:search`
    Feature,
    /// `tenant:acme`
    Tenant,
}

impl SelectorKind {
    /// All kinds, in the order in which their bindings are merged.
    pub const ALL: [Self; 3] = [Self::Environment, Self::Feature, Self::Tenant];

    /// Returns the kind as written in a selector: `environment`, `feature` or `tenant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Feature => "feature",
            Self::Tenant => "tenant",
        }
    }
}

impl fmt::Display for SelectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identifies a tracer: a tenant, an environment, a feature, or a combination of them.
///
/// Written as `tenant:acme`, or `environment:production,tenant:acme` with several parts. `Display`
/// orders the parts, so equal selectors have equal texts.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    environment: Option<Slug>,
    feature: Option<Slug>,
    tenant: Option<Slug>,
}

/// A [`Selector`] with names that are not checked yet.
///
/// Created by [`Selector::tenant`] and similar functions, and accepted wherever a selector is. The
/// receiving function checks the names, so `registry.get(Selector::tenant(slug).feature("search"))`
/// is one expression with one error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorBuilder {
    parts: [Option<String>; 3],
}

/// Invalid selector.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectorError {
    /// The name of a part breaks the rules of [`Slug`].
    Slug {
        /// Kind of the part with the invalid name.
        part: SelectorKind,
        /// Broken rule.
        source: SlugError,
    },
    /// The selector has no part.
    Empty,
    /// The text is not of the form `part:name[,part:name...]`.
    Syntax(String),
}

debug_as_display!(SelectorError);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slug { part, source } => write!(f, "{part}: {source}"),
            Self::Empty => f.write_str("a selector needs a tenant, an environment or a feature"),
            Self::Syntax(text) => write!(
                f,
                "invalid selector {text}; expected tenant:acme or environment:production,tenant:acme"
            ),
        }
    }
}

// Without a source: the text has it.
impl Error for SelectorError {}

impl Selector {
    /// Starts a selector with a tenant.
    pub fn tenant(name: &str) -> SelectorBuilder {
        SelectorBuilder::default().tenant(name)
    }

    /// Starts a selector with an environment.
    pub fn environment(name: &str) -> SelectorBuilder {
        SelectorBuilder::default().environment(name)
    }

    /// Starts a selector with a feature.
    pub fn feature(name: &str) -> SelectorBuilder {
        SelectorBuilder::default().feature(name)
    }

    /// Creates a selector of one part.
    pub fn of(part: SelectorKind, name: Slug) -> Self {
        let mut selector = Self::default();
        *selector.slot(part) = Some(name);
        selector
    }

    /// Adds or replaces the tenant.
    pub(crate) fn with_tenant(mut self, tenant: Slug) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Returns the name of a part, or `None` if the selector has no such part.
    pub fn get(&self, part: SelectorKind) -> Option<&Slug> {
        match part {
            SelectorKind::Environment => self.environment.as_ref(),
            SelectorKind::Feature => self.feature.as_ref(),
            SelectorKind::Tenant => self.tenant.as_ref(),
        }
    }

    /// Iterates over the parts, in the order in which their bindings are merged.
    pub fn parts(&self) -> impl Iterator<Item = (SelectorKind, &Slug)> {
        SelectorKind::ALL
            .into_iter()
            .filter_map(|part| self.get(part).map(|name| (part, name)))
    }

    /// Returns the only part, or `None` if there are several.
    pub fn single(&self) -> Option<(SelectorKind, &Slug)> {
        let mut parts = self.parts();
        let first = parts.next()?;
        parts.next().is_none().then_some(first)
    }

    /// Iterates over all selectors made of some or all parts of this one: at most seven.
    pub(crate) fn subsets(&self) -> impl Iterator<Item = Self> {
        let parts = SelectorKind::ALL.map(|part| 1_u8 << part as u8);
        let has = move |mask: &u8| {
            SelectorKind::ALL
                .iter()
                .zip(parts)
                .all(|(part, bit)| mask & bit == 0 || self.get(*part).is_some())
        };
        (1..1 << SelectorKind::ALL.len()).filter(has).map(move |mask| {
            let mut subset = Self::default();
            for (part, bit) in SelectorKind::ALL.into_iter().zip(parts) {
                if mask & bit != 0 {
                    *subset.slot(part) = self.get(part).cloned();
                }
            }
            subset
        })
    }

    /// Returns whether this selector has every part of `other`.
    pub fn contains(&self, other: &Self) -> bool {
        other.parts().all(|(part, name)| self.get(part) == Some(name))
    }

    fn slot(&mut self, part: SelectorKind) -> &mut Option<Slug> {
        match part {
            SelectorKind::Environment => &mut self.environment,
            SelectorKind::Feature => &mut self.feature,
            SelectorKind::Tenant => &mut self.tenant,
        }
    }
}

impl SelectorBuilder {
    /// Adds or replaces the tenant.
    pub fn tenant(self, name: &str) -> Self {
        self.with(SelectorKind::Tenant, name)
    }

    /// Adds or replaces the environment.
    pub fn environment(self, name: &str) -> Self {
        self.with(SelectorKind::Environment, name)
    }

    /// Adds or replaces the feature.
    pub fn feature(self, name: &str) -> Self {
        self.with(SelectorKind::Feature, name)
    }

    /// Returns the name of a part as given, unchecked.
    pub fn get(&self, part: SelectorKind) -> Option<&str> {
        self.parts[part as usize].as_deref()
    }

    fn with(mut self, part: SelectorKind, name: &str) -> Self {
        self.parts[part as usize] = Some(name.to_owned());
        self
    }
}

impl TryFrom<&SelectorBuilder> for Selector {
    type Error = SelectorError;

    fn try_from(builder: &SelectorBuilder) -> Result<Self, Self::Error> {
        let mut selector = Self::default();
        for part in SelectorKind::ALL {
            if let Some(name) = &builder.parts[part as usize] {
                let name = Slug::new(name).map_err(|source| SelectorError::Slug { part, source })?;
                *selector.slot(part) = Some(name);
            }
        }
        if selector == Self::default() {
            return Err(SelectorError::Empty);
        }
        Ok(selector)
    }
}

impl TryFrom<SelectorBuilder> for Selector {
    type Error = SelectorError;

    fn try_from(builder: SelectorBuilder) -> Result<Self, Self::Error> {
        Self::try_from(&builder)
    }
}

impl TryFrom<&Selector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &Selector) -> Result<Self, Self::Error> {
        Ok(selector.clone())
    }
}

// Lets a function take any `TryInto<Selector>`: the conversion of a `Selector` to itself cannot
// fail.
impl From<Infallible> for SelectorError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || SelectorError::Syntax(quoted(text));
        let mut builder = SelectorBuilder::default();
        for piece in text.split(',') {
            let (word, name) = piece.split_once(':').ok_or_else(syntax)?;
            let part = SelectorKind::ALL
                .into_iter()
                .find(|part| part.as_str() == word)
                .ok_or_else(syntax)?;
            if builder.parts[part as usize].replace(name.to_owned()).is_some() {
                return Err(syntax());
            }
        }
        Self::try_from(builder)
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

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_selectors_have_equal_texts_in_any_order_of_parts() {
        let one = Selector::try_from(Selector::tenant("acme").environment("staging")).expect("valid");
        let two = Selector::try_from(Selector::environment("staging").tenant("acme")).expect("valid");
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "environment:staging,tenant:acme");
        assert_eq!("tenant:acme,environment:staging".parse(), Ok(one));
    }

    #[test]
    fn invalid_selectors_are_refused() {
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
        assert_eq!(
            Selector::try_from(SelectorBuilder::default()),
            Err(SelectorError::Empty)
        );
    }
}
