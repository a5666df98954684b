//! Forged incoming headers.

use std::collections::HashMap;

use super::program::operation::OpId;
use super::subject::given_id;

/// Returns a `traceparent` with an unknown parent.
pub(super) fn unknown_parent(seed: u64, op: OpId) -> String {
    let trace = u128::from(seed | 1) << 64 | 0x7eac_e000_0000_0000 | u128::from(op);
    let span = 0x5ba4_0000_0000_0000 | u64::from(op);
    traceparent(&format!("{trace:032x}"), &format!("{span:016x}"))
}

pub(super) fn traceparent(trace: &str, span: &str) -> String {
    format!("00-{trace}-{span}-01")
}

/// Returns the id of an unknown session.
pub(super) fn unknown_session(seed: u64, op: OpId) -> String {
    given_id(!seed, op).hyphenated().to_string()
}

/// Returns the trace id and the span id of the `traceparent` header.
pub(super) fn parent_ids(headers: &HashMap<String, String>) -> Option<(&str, &str)> {
    let mut parts = headers.get("traceparent")?.split('-').skip(1);
    Some((parts.next()?, parts.next()?))
}

/// Returns a suffix for a baggage entry that tries to choose a session in the next process:
/// metadata that becomes an entry and a header if it is decoded and forwarded, and a name encoded
/// twice.
pub(super) fn forged_session(seed: u64, op: OpId) -> String {
    let session = unknown_session(seed, op);
    format!(";m%2Csession.id={session}%0d%0abaggage:%20session.id={session},session%252Eid={session}")
}

/// Returns the entries of an incoming `baggage` header that a tracer accepts: without metadata, and
/// without entries with an encoded name.
pub(super) fn accepted_baggage(headers: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let mut entries = baggage(headers);
    entries.retain(|(key, _)| !key.contains('%'));
    for (_, value) in &mut entries {
        *value = value.split(';').next().unwrap_or_default();
    }
    entries
}

/// Returns the entries of a `baggage` header, sorted and unchanged.
pub(super) fn baggage(headers: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let entries = headers.get("baggage").map_or("", String::as_str).split(',');
    let mut entries: Vec<_> = entries.filter_map(|entry| entry.trim().split_once('=')).collect();
    entries.sort_unstable();
    entries
}
