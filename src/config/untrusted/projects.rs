//! Patterns of `untrusted.projects`.

use super::keys::{TENANT, matches_other_tenants, with_placeholder};
use crate::secret::wildcard_matches;
use crate::selector::Slug;

const GRAMMAR: &str =
    "a pattern is the name of a project; {tenant} is the tenant's slug, and * matches letters, digits, -, _ and .";

/// A pattern of projects that a tenant's layer may name, with its `{tenant}` placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProjectPattern(String);

impl ProjectPattern {
    /// Parses a pattern. Returns the broken rule if it is invalid.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.replace(TENANT, "").contains(['{', '}']) {
            return Err("only the placeholder {tenant} is supported");
        }
        if text.is_empty() {
            return Err(GRAMMAR);
        }
        if matches_other_tenants(text, false) {
            return Err("a tenant could match another tenant's project; put / between {tenant} and *");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns whether a layer of the tenant, or one without a tenant, may name a project.
    pub(super) fn matches(&self, project: &str, tenant: Option<&Slug>) -> bool {
        match tenant {
            Some(tenant) => wildcard_matches(&self.0.replace(TENANT, tenant), project),
            None => !self.0.contains(TENANT) && wildcard_matches(&self.0, project),
        }
    }
}

/// Returns the pattern that would allow a project. A path component equal to the tenant's slug
/// becomes `{tenant}`, because the literal slug would allow the project to every tenant.
pub(super) fn pattern_for(project: &str, tenant: Option<&Slug>) -> String {
    with_placeholder(project, tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_acme(pattern: &str, project: &str) -> bool {
        let acme = Slug::new("acme").expect("a name");
        ProjectPattern::parse(pattern)
            .expect("a pattern")
            .matches(project, Some(&acme))
    }

    #[test]
    fn a_pattern_matches_only_the_layers_tenant() {
        assert!(matches_acme("{tenant}", "acme"));
        assert!(!matches_acme("{tenant}", "globex"));
        assert!(!matches_acme("{tenant}", "acme-eu"));
        assert!(matches_acme("{tenant}/*", "acme/search"));
        assert!(!matches_acme("{tenant}/*", "globex/search"));
        assert!(matches_acme("shared", "shared"));
        let pattern = ProjectPattern::parse("{tenant}").expect("a pattern");
        assert!(!pattern.matches("{tenant}", None), "a layer without a tenant");
    }

    #[test]
    fn ambiguous_patterns_are_refused() {
        for text in ["", "{feature}", "{tenant}-*", "*{tenant}", "{"] {
            assert!(ProjectPattern::parse(text).is_err(), "{text}");
        }
        for text in ["{tenant}", "*", "{tenant}/*", "project_name:{tenant}", "a b"] {
            assert!(ProjectPattern::parse(text).is_ok(), "{text}");
        }
    }
}
