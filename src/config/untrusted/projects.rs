//! Patterns of `untrusted.projects`.

use super::keys::{TENANT, tenants_could_meet, with_placeholder};
use crate::secret::wildcard_matches;
use crate::selector::Slug;

const GRAMMAR: &str = "a pattern is the name of a project; in it, {tenant} is the tenant's slug and * stands for letters, digits, -, _ and .";

/// Projects that a layer of a tenant may name, before the tenant is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProjectPattern(String);

impl ProjectPattern {
    /// Reads a pattern; else the rule that it breaks.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.replace(TENANT, "").contains(['{', '}']) {
            return Err("only {tenant} is filled in");
        }
        if text.is_empty() {
            return Err(GRAMMAR);
        }
        if tenants_could_meet(text, false) {
            return Err("a tenant could name another one's project: put / between {tenant} and *");
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether a layer of the tenant, or one that is no tenant's, may name a project.
    pub(super) fn fits(&self, project: &str, tenant: Option<&Slug>) -> bool {
        match tenant {
            Some(tenant) => wildcard_matches(&self.0.replace(TENANT, tenant), project),
            None => !self.0.contains(TENANT) && wildcard_matches(&self.0, project),
        }
    }
}

/// The pattern that would allow a project. The tenant's slug becomes `{tenant}` where it is a part of its own: as it is, every tenant could
/// name it.
pub(super) fn allowing(project: &str, tenant: Option<&Slug>) -> String {
    with_placeholder(project, tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits_acme(pattern: &str, project: &str) -> bool {
        let acme = Slug::new("acme").expect("a name");
        ProjectPattern::parse(pattern)
            .expect("a pattern")
            .fits(project, Some(&acme))
    }

    #[test]
    fn a_pattern_is_about_the_tenant_whose_layer_it_is() {
        assert!(fits_acme("{tenant}", "acme"));
        assert!(!fits_acme("{tenant}", "globex"));
        assert!(!fits_acme("{tenant}", "acme-eu"));
        assert!(fits_acme("{tenant}/*", "acme/search"));
        assert!(!fits_acme("{tenant}/*", "globex/search"));
        assert!(fits_acme("shared", "shared"));
        let pattern = ProjectPattern::parse("{tenant}").expect("a pattern");
        assert!(!pattern.fits("{tenant}", None), "a layer of no tenant");
    }

    #[test]
    fn what_could_mean_more_than_it_says_is_no_pattern() {
        for text in ["", "{feature}", "{tenant}-*", "*{tenant}", "{"] {
            assert!(ProjectPattern::parse(text).is_err(), "{text}");
        }
        for text in ["{tenant}", "*", "{tenant}/*", "project_name:{tenant}", "a b"] {
            assert!(ProjectPattern::parse(text).is_ok(), "{text}");
        }
    }
}
