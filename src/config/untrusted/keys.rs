//! Patterns of `untrusted.keys`.

use std::path::{Component, Path, PathBuf};

use crate::config::rules::template;
use crate::secret::{FilePattern, KeyPattern, KeySource};
use crate::selector::Slug;

pub(super) const TENANT: &str = "{tenant}";

const GRAMMAR: &str = "a pattern is \"env:NAME\", \"file:/path\", \"credential:name\" or \"provider:name/secret\"; \
                       {tenant} is the tenant's slug, and * matches letters, digits, -, _ and .";

/// A pattern of key sources, with its `{tenant}` placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRule(KeyPattern);

impl KeyRule {
    /// Parses a pattern. Returns the broken rule if it is invalid.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, name) = text.split_once(':').ok_or(GRAMMAR)?;
        let fixed = name.replace(TENANT, "");
        if fixed.contains(['{', '}']) {
            return Err("only the placeholder {tenant} is supported");
        }
        if kind == "exec" {
            return Err("untrusted layers must not run commands");
        }
        if fixed.is_empty() && !name.contains(TENANT) {
            return Err(GRAMMAR);
        }
        let as_variable = kind == "env";
        if matches_other_tenants(name, as_variable) {
            return Err(if as_variable {
                "a tenant could match another tenant's variable; put a lower-case letter between {tenant} and *"
            } else {
                "a tenant could match another tenant's key; put / between {tenant} and *"
            });
        }
        match kind {
            "env" => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
                let is_name = fixed.chars().all(allowed);
                is_name.then(|| Self(KeyPattern::Env(name.to_owned()))).ok_or(GRAMMAR)
            }
            "file" => Self::file(Path::new(name)),
            "credential" if !name.contains('/') => Ok(Self(KeyPattern::Credential(name.to_owned()))),
            "provider" => match name.split_once('/') {
                Some((provider, name))
                    if !provider.contains(['*', '{']) && !provider.is_empty() && !name.is_empty() =>
                {
                    Ok(Self(KeyPattern::Provider {
                        provider: provider.to_owned(),
                        name: name.to_owned(),
                    }))
                }
                _ => Err(GRAMMAR),
            },
            _ => Err(GRAMMAR),
        }
    }

    fn file(path: &Path) -> Result<Self, &'static str> {
        if !path.is_absolute() {
            return Err("the path of a file must be absolute");
        }
        let mut root = PathBuf::new();
        let mut below: Vec<String> = Vec::new();
        for part in path.components() {
            match part {
                Component::ParentDir => return Err("a pattern must not contain `..`"),
                Component::Normal(name) => {
                    let name = name.to_str().ok_or("a pattern must be valid UTF-8")?;
                    if below.is_empty() && !name.contains(['*', '{']) {
                        root.push(name);
                    } else {
                        below.push(name.to_owned());
                    }
                }
                other => root.push(other),
            }
        }
        if below.is_empty() {
            let name = root.file_name().and_then(|name| name.to_str()).ok_or(GRAMMAR)?;
            below.push(name.to_owned());
            root.pop();
        }
        Ok(Self(KeyPattern::File(FilePattern::new(root, below))))
    }

    /// Returns whether it matches only the layer's own tenant.
    pub(super) fn names_tenant(&self) -> bool {
        self.for_tenant(None).is_none()
    }

    /// Returns the pattern for a tenant's layer, or for a layer without a tenant.
    pub(super) fn for_tenant(&self, tenant: Option<&Slug>) -> Option<KeyPattern> {
        let is_variable = matches!(self.0, KeyPattern::Env(_));
        self.0.map(|text| match tenant {
            _ if !text.contains(TENANT) => Some(text.to_owned()),
            Some(tenant) if is_variable => Some(text.replace(TENANT, &template::variable_form(tenant).ok()?)),
            Some(tenant) => Some(text.replace(TENANT, tenant)),
            None => None,
        })
    }
}

/// Returns whether `*` could turn one tenant's name into another's: `{tenant}-*` for `acme` matches
/// `acme-eu`.
pub(super) fn matches_other_tenants(text: &str, as_variable: bool) -> bool {
    let pieces: Vec<&str> = text.split(TENANT).collect();
    let only_name_characters = |between: &str| between.chars().all(|c| template::can_occur_in_name(c, as_variable));
    let before = |piece: &str| {
        piece
            .rsplit_once('*')
            .is_some_and(|(_, between)| only_name_characters(between))
    };
    let after = |piece: &str| {
        piece
            .split_once('*')
            .is_some_and(|(between, _)| only_name_characters(between))
    };
    let last = pieces.len() - 1;
    pieces[..last].iter().any(|piece| before(piece)) || pieces[1..].iter().any(|piece| after(piece))
}

/// Returns the pattern that would allow a source, or `None` for a command. A path component equal
/// to the tenant's slug becomes `{tenant}`, because the literal slug would allow the source to
/// every tenant.
pub(super) fn pattern_for(source: &KeySource, tenant: Option<&Slug>) -> Option<String> {
    let templated = |text: &str| with_placeholder(text, tenant);
    match source {
        KeySource::Env(name) => Some(format!("env:{name}")),
        KeySource::File(path) => Some(format!("file:{}", templated(path.to_str()?))),
        KeySource::Credential(name) => Some(format!("credential:{}", templated(name))),
        KeySource::Provider { provider, name } => Some(format!("provider:{provider}/{}", templated(name))),
        KeySource::Confined(_) | KeySource::Exec { .. } => None,
    }
}

/// Replaces each component between `/` that equals the tenant's slug with `{tenant}`.
pub(super) fn with_placeholder(text: &str, tenant: Option<&Slug>) -> String {
    let is_slug = |part: &str| tenant.is_some_and(|tenant| part == tenant.as_str());
    let parts = text.split('/').map(|part| if is_slug(part) { TENANT } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(pattern: &str, tenant: &str, source: &KeySource) -> bool {
        let rule = KeyRule::parse(pattern).expect("a pattern");
        let tenant = Slug::new(tenant).expect("a name");
        let pattern = rule.for_tenant(Some(&tenant));
        pattern.is_some_and(|pattern| pattern.admit(source).is_some())
    }

    #[test]
    fn a_pattern_matches_only_the_layers_tenant() {
        let file = "file:/run/secrets/{tenant}/*";
        assert!(admits(file, "acme", &KeySource::file("/run/secrets/acme/key")));
        assert!(!admits(file, "acme", &KeySource::file("/run/secrets/acme-eu/key")));
        assert!(!admits(file, "acme", &KeySource::file("/run/secrets/globex/key")));
        assert!(admits(
            "env:KEY_OF_{tenant}",
            "acme-eu",
            &KeySource::env("KEY_OF_ACME_EU")
        ));
        assert!(!admits(
            "env:KEY_OF_{tenant}",
            "acme",
            &KeySource::env("KEY_OF_ACME_EU")
        ));
        assert!(
            !admits("env:KEY_OF_{tenant}", "acme_eu", &KeySource::env("KEY_OF_ACME_EU")),
            "ACME_EU would be ambiguous"
        );
        let vault = "provider:vault/tenants/{tenant}/*";
        assert!(admits(
            vault,
            "acme",
            &KeySource::provider("vault", "tenants/acme/otel")
        ));
        assert!(!admits(
            vault,
            "acme",
            &KeySource::provider("vault", "tenants/globex/otel")
        ));
        assert!(admits(
            "credential:hh-{tenant}",
            "acme",
            &KeySource::Credential("hh-acme".into())
        ));
        let rule = KeyRule::parse(file).expect("a pattern");
        assert_eq!(rule.for_tenant(None), None, "a layer without a tenant");
    }

    #[test]
    fn ambiguous_patterns_are_refused() {
        for text in [
            "",
            "ACME",
            "env:",
            "env:ACME KEY",
            "env:{tenant}_*",
            "env:*_{tenant}",
            "env:A_{tenant}_B*",
            "file:",
            "file:relative/{tenant}",
            "file:/run/../{tenant}",
            "file:/run/secrets/{tenant}-*",
            "file:/run/secrets/*.{tenant}",
            "file:/",
            "credential:a/b",
            "provider:vault",
            "provider:*/x",
            "provider:/x",
            "provider:vault/{tenant}*",
            "exec:pass",
            "other:x",
            "file:/run/{feature}/x",
        ] {
            assert!(KeyRule::parse(text).is_err(), "{text}");
        }
        for text in [
            "env:ACME_*",
            "env:K_{tenant}x*",
            "file:/run/secrets/shared",
            "file:/run/*/{tenant}/*.key",
            "provider:vault/{tenant}:*",
        ] {
            assert!(KeyRule::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_suggested_pattern_allows_the_source() {
        let acme = Slug::new("acme").expect("a name");
        for (source, text) in [
            (KeySource::env("ACME"), "env:ACME"),
            (KeySource::file("/run/acme/acme.key"), "file:/run/{tenant}/acme.key"),
            (KeySource::provider("vault", "t/acme"), "provider:vault/t/{tenant}"),
            (KeySource::Credential("acme".into()), "credential:{tenant}"),
        ] {
            assert_eq!(pattern_for(&source, Some(&acme)).as_deref(), Some(text));
            assert!(admits(text, "acme", &source), "{text}");
        }
    }
}
