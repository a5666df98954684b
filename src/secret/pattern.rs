//! Patterns of key sources that untrusted layers may name.

use super::confined::FilePattern;
use super::source::KeySource;
use super::wildcard::wildcard_matches;

/// One kind of key source, with a name pattern. In a name, `*` matches any ASCII letters, digits,
/// `-`, `_` and `.`, but not `.` or `..` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPattern {
    Env(String),
    File(FilePattern),
    Credential(String),
    Provider { provider: String, name: String },
}

impl KeyPattern {
    /// Replaces the names. Returns `None` if `replace` returns `None` for one of them.
    pub(crate) fn map(&self, replace: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(match self {
            Self::Env(name) => Self::Env(replace(name)?),
            Self::File(pattern) => Self::File(pattern.map(replace)?),
            Self::Credential(name) => Self::Credential(replace(name)?),
            Self::Provider { provider, name } => Self::Provider {
                provider: provider.clone(),
                name: replace(name)?,
            },
        })
    }

    /// Returns the source to read if the pattern allows it. Never allows a command.
    pub(crate) fn admit(&self, source: &KeySource) -> Option<KeySource> {
        let is_allowed = match (self, source) {
            (Self::File(pattern), KeySource::File(path)) => return pattern.admit(path).map(KeySource::Confined),
            (Self::Env(pattern), KeySource::Env(name)) | (Self::Credential(pattern), KeySource::Credential(name)) => {
                wildcard_matches(pattern, name)
            }
            (
                Self::Provider { provider, name },
                KeySource::Provider {
                    provider: other_provider,
                    name: other_name,
                },
            ) => provider == other_provider && wildcard_matches(name, other_name),
            _ => false,
        };
        is_allowed.then(|| source.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyCommand;
    use super::*;

    #[test]
    fn a_pattern_allows_its_own_kind_only_and_never_a_command() {
        let patterns = [
            KeyPattern::Env("*".into()),
            KeyPattern::Credential("*".into()),
            KeyPattern::File(FilePattern::new("/".into(), vec!["*".into()])),
            KeyPattern::Provider {
                provider: "vault".into(),
                name: "*".into(),
            },
        ];
        let command = KeySource::Exec(KeyCommand::new(["id"]));
        let sources = [
            KeySource::env("A"),
            KeySource::Credential("A".into()),
            KeySource::file("/A"),
            KeySource::provider("vault", "A"),
            KeySource::provider("other", "A"),
            command,
        ];
        for (at, source) in sources.iter().enumerate() {
            for (of, pattern) in patterns.iter().enumerate() {
                assert_eq!(pattern.admit(source).is_some(), at == of, "{pattern:?} {source}");
            }
        }
    }
}
