//! Tenants that a caller may choose.

use tracer_registry::gateway::wildcard_matches;
use tracer_registry::selector::Slug;

/// Maximum length of a pattern in bytes, the length of a slug.
const MAX_PATTERN_BYTES: usize = 64;

/// A list of tenants: slugs, and patterns in which `*` matches any characters of a slug.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Sorted.
    names: Box<[Slug]>,
    patterns: Box<[Box<str>]>,
}

impl Allow {
    /// Checks a list.
    ///
    /// # Errors
    /// Returns the index of an invalid entry, and the rule.
    pub(crate) fn new(entries: &[String]) -> Result<Self, (usize, String)> {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            if !entry.contains('*') {
                names.push(Slug::new(entry).map_err(|error| (index, error.to_string()))?);
            } else if is_pattern(entry) {
                patterns.push(Box::from(entry.as_str()));
            } else {
                let rule = "a pattern is 1 to 64 of a-z 0-9 - _ . and *, and '*' is its only special character";
                return Err((index, rule.to_owned()));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self {
            names: names.into(),
            patterns: patterns.into(),
        })
    }

    /// Returns whether the tenant may be chosen.
    pub fn permits(&self, tenant: &Slug) -> bool {
        self.names.binary_search(tenant).is_ok()
            || self.patterns.iter().any(|pattern| wildcard_matches(pattern, tenant))
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.names.len() + self.patterns.len()
    }

    /// Returns the entries that permit none of these tenants.
    pub(crate) fn unused<'a>(&'a self, tenants: &'a [Slug]) -> impl Iterator<Item = &'a str> {
        let names = self
            .names
            .iter()
            .filter(|name| !tenants.contains(name))
            .map(Slug::as_str);
        let patterns = self.patterns.iter().map(AsRef::as_ref);
        names.chain(patterns.filter(|pattern| !tenants.iter().any(|tenant| wildcard_matches(pattern, tenant))))
    }
}

fn is_pattern(text: &str) -> bool {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '*');
    text.len() <= MAX_PATTERN_BYTES && text.chars().all(allowed) && !text.contains("..")
}
