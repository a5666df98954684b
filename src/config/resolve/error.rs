//! Why the configuration has nothing for a selector.

use http::HeaderName;

use crate::config::fault::ConfigError;
use crate::config::rules::template::TemplateError;
use crate::config::settings::binding::Change;
use crate::selector::{SelectorKind, Slug};
use crate::util::serde_display::debug_as_display;

/// Why the configuration has nothing for a selector.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The configuration has no such name.
    #[error("{part} {name:?} is not configured{}", suggestions(.similar))]
    Unknown {
        /// The part that is unknown.
        part: SelectorKind,
        /// Its name.
        name: Slug,
        /// Configured names that are like it.
        similar: Vec<String>,
    },
    /// A table changes where the key would be sent, and has none of its own.
    #[error(
        "no api_key is left for it: {at} changes {change}, which forgets the key of the tables below; write api_key there too"
    )]
    KeyForgotten {
        /// What was changed.
        change: Change,
        /// The table, or the file of a tenant.
        at: String,
    },
    /// A layer that is not the operator's says what `[untrusted]` does not allow.
    #[error("it is not allowed by [untrusted]: {0}")]
    Refused(ConfigError),
    /// Nothing that applies to the selector says where the key comes from.
    #[error("no api_key is configured for it, and no other key is ever taken instead")]
    NoKey,
    /// A `{tenant}` or its like cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A header that the selector's names made invalid.
    #[error("the value of the header {0} has characters that a header cannot carry")]
    Header(HeaderName),
}

debug_as_display!(ResolveError);

fn suggestions(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", similar.join(", "))
    }
}
