//! Errors of resolving a selector.

use http::HeaderName;

use crate::config::problem::ConfigError;
use crate::config::rules::template::TemplateError;
use crate::config::settings::binding::{Change, DiscardedKey};
use crate::config::untrusted::LayerOrigin;
use crate::selector::{SelectorKind, Slug};
use crate::util::serde_display::debug_as_display;

/// The configuration cannot be resolved for a selector.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The configuration has no such name.
    #[error("{part} {name:?} is not configured{}", suggestions(.similar))]
    Unknown {
        /// Kind of the unknown part.
        part: SelectorKind,
        /// Name of the part.
        name: Slug,
        /// Similar configured names.
        similar: Vec<String>,
    },
    /// A table, or an upper layer of it, changes where the key would be sent and sets no key.
    #[error("no api_key: {at} changes {change}, which discards the key set below it; set api_key there too")]
    KeyDiscarded {
        /// Changed setting.
        change: Change,
        /// Table or tenant file with the change, and its layer if the key was discarded within one
        /// table.
        at: String,
    },
    /// An untrusted layer contains settings that `[untrusted]` does not allow.
    #[error("not allowed by [untrusted]: {0}")]
    Refused(ConfigError),
    /// No table for the selector sets a key source.
    #[error("no api_key is configured, and the key of another selector is never used")]
    NoKey,
    /// A rule of redaction hashes, and no table sets the key of the hashes.
    #[error("the rule {0:?} of redact hashes, and no redact.key is configured")]
    NoHashKey(String),
    /// A placeholder such as `{tenant}` cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A header value became invalid when the selector's names were filled in.
    #[error("the value of the header {0} contains characters that are invalid in a header")]
    Header(HeaderName),
}

debug_as_display!(ResolveError);

impl ResolveError {
    pub(crate) fn discarded(key: DiscardedKey, origin: LayerOrigin<'_>) -> Self {
        Self::KeyDiscarded {
            change: key.change,
            at: match key.layer {
                Some(layer) => format!("{origin} in {}", layer.name()),
                None => origin.to_string(),
            },
        }
    }
}

fn suggestions(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", similar.join(", "))
    }
}
