//! Rules for single values. Each returns a message for an invalid value.

use std::time::Duration;

use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template;

/// Maximum duration of a setting. Far above any useful value, and far below what the clock can add.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn at_least_one(value: usize) -> Option<String> {
    (value == 0).then(|| "must be at least 1".to_owned())
}

pub(crate) fn at_most_a_day(value: Duration) -> Option<String> {
    (value > MAX_DURATION).then(|| format!("must be at most {}", humantime::format_duration(MAX_DURATION)))
}

/// For durations for which zero has no meaning.
pub(crate) fn more_than_zero(value: Duration) -> Option<String> {
    if value.is_zero() {
        return Some("must be more than zero".to_owned());
    }
    at_most_a_day(value)
}

pub(crate) fn url(text: &str) -> Option<String> {
    Endpoint::new(text).err().map(|error| error.to_string())
}

/// Two selectors must not share a project because their names fill in to the same text.
pub(crate) fn project(text: &str) -> Option<String> {
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Some(
            "a project must be a non-empty string without control characters or surrounding white space".to_owned(),
        );
    }
    template::ambiguous(text, false)
}

/// Returns the message for something that requires a feature with which this program was not built.
pub(crate) fn needs_feature(what: &str, feature: &str) -> String {
    format!("{what} needs the feature `{feature}` of tracer-registry, and this program was built without it")
}
