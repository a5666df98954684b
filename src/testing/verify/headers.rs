//! Incoming headers that lie.

use std::collections::HashMap;

use super::program::OpId;
use super::subject::given_id;

/// A parent that nobody made.
pub(super) fn unknown_parent(seed: u64, op: OpId) -> String {
    let trace = u128::from(seed | 1) << 64 | 0x7eac_e000_0000_0000 | u128::from(op);
    let span = 0x5ba4_0000_0000_0000 | u64::from(op);
    traceparent(&format!("{trace:032x}"), &format!("{span:016x}"))
}

pub(super) fn traceparent(trace: &str, span: &str) -> String {
    format!("00-{trace}-{span}-01")
}

/// A session that nobody started.
pub(super) fn unknown_session(seed: u64, op: OpId) -> String {
    given_id(!seed, op).hyphenated().to_string()
}

/// The trace id and the span id of a `traceparent`.
pub(super) fn parent_ids(headers: &HashMap<String, String>) -> Option<(&str, &str)> {
    let mut parts = headers.get("traceparent")?.split('-').skip(1);
    Some((parts.next()?, parts.next()?))
}

/// The entries of a `baggage` header, as they stand there.
pub(super) fn baggage(headers: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let entries = headers.get("baggage").map_or("", String::as_str).split(',');
    let mut entries: Vec<_> = entries.filter_map(|entry| entry.trim().split_once('=')).collect();
    entries.sort_unstable();
    entries
}
