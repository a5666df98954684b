//! Redaction of the program's data, before it is encoded: spans of the SDK, and session events.
//!
//! Everything is changed in place and once: a value that became a hash must not be hashed again.
//! Encoded requests of clients are redacted by `payload`.

mod session;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use session::event;
#[cfg(feature = "gateway")]
pub(crate) use session::fields;
pub(crate) use span::{attributes, span};

use crate::export::accounting::lane_status::RedactionStatus;
use crate::policy::redaction::Redaction;

/// Returns what the redaction of a tracer changed so far.
pub(crate) fn status(redaction: &Redaction) -> RedactionStatus {
    let (rules, unreadable) = redaction.counts();
    let (redactors, redactor_panics) = redaction.hook_counts();
    let rules = rules.into_iter().filter(|(_, count)| *count > 0);
    RedactionStatus {
        rules: rules.map(|(rule, count)| (rule.to_owned(), count)).collect(),
        redactors,
        redactor_panics,
        unreadable,
    }
}
