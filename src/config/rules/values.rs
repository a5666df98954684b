//! Rules of single values: each says what is wrong with one, if something is.

use std::time::Duration;

use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template;

/// The longest duration of the configuration. Far above any that helps, and far below what the
/// clock can add.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn at_least_one(value: usize) -> Option<String> {
    (value == 0).then(|| "must be at least 1".to_owned())
}

pub(crate) fn at_most_a_day(value: Duration) -> Option<String> {
    (value > LONGEST).then(|| format!("must be at most {}", humantime::format_duration(LONGEST)))
}

/// For durations of which zero says nothing, such as "at once" or "not at all".
pub(crate) fn more_than_zero(value: Duration) -> Option<String> {
    if value.is_zero() {
        return Some("must be more than zero".to_owned());
    }
    at_most_a_day(value)
}

pub(crate) fn url(text: &str) -> Option<String> {
    Endpoint::new(text).err().map(|error| error.to_string())
}

/// Two selectors must not meet in one project because their names do in one text.
pub(crate) fn project(text: &str) -> Option<String> {
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Some(
            "a project is a text without control characters that neither is empty nor begins or ends with a blank"
                .to_owned(),
        );
    }
    template::ambiguous(text, false)
}

/// What is wrong with something that needs a feature of this library, in a program that was built
/// without it.
pub(crate) fn needs_feature(what: &str, feature: &str) -> String {
    format!("{what} needs the feature `{feature}` of tracer-registry, and this program was built without it")
}
