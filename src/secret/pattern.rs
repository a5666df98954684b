//! Which key sources may be named by a layer that is not the operator's.

use super::confined::FilePattern;
use super::source::KeySource;
use super::wildcard::fits;

/// One kind of key source, and how its names begin and end. In a name, `*` stands for any letters, digits, `-`, `_` and `.` of
/// ASCII, but not for `.` or `..` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPattern {
    Env(String),
    File(FilePattern),
    Credential(String),
    Provider { provider: String, name: String },
}

impl KeyPattern {
    /// The same with other names; none if `other` has none for one of them.
    pub(crate) fn map(&self, other: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(match self {
            Self::Env(name) => Self::Env(other(name)?),
            Self::File(pattern) => Self::File(pattern.map(other)?),
            Self::Credential(name) => Self::Credential(other(name)?),
            Self::Provider { provider, name } => Self::Provider {
                provider: provider.clone(),
                name: other(name)?,
            },
        })
    }

    /// The source as it is to be read, if it is one of these. Never a command.
    pub(crate) fn admit(&self, source: &KeySource) -> Option<KeySource> {
        let is_one = match (self, source) {
            (Self::File(pattern), KeySource::File(path)) => return pattern.admit(path).map(KeySource::Confined),
            (Self::Env(pattern), KeySource::Env(name)) | (Self::Credential(pattern), KeySource::Credential(name)) => {
                fits(pattern, name)
            }
            (
                Self::Provider { provider, name },
                KeySource::Provider {
                    provider: of,
                    name: asked,
                },
            ) => provider == of && fits(name, asked),
            _ => false,
        };
        is_one.then(|| source.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyCommand;
    use super::*;

    #[test]
    fn a_pattern_of_one_kind_allows_no_other_and_a_command_never() {
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
