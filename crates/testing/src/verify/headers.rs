//! Incoming headers that lie.

use std::collections::HashMap;

use super::program::operation::OpId;
use super::subject::given_id;

/// An unknown parent.
pub(super) fn unknown_parent(seed: u64, op: OpId) -> String {
    let trace = u128::from(seed | 1) << 64 | 0x7eac_e000_0000_0000 | u128::from(op);
    let span = 0x5ba4_0000_0000_0000 | u64::from(op);
    traceparent(&format!("{trace:032x}"), &format!("{span:016x}"))
}

pub(super) fn traceparent(trace: &str, span: &str) -> String {
    format!("00-{trace}-{span}-01")
}

/// An unknown session.
pub(super) fn unknown_session(seed: u64, op: OpId) -> String {
    given_id(!seed, op).hyphenated().to_string()
}

/// The trace id and the span id of a `traceparent`.
pub(super) fn parent_ids(headers: &HashMap<String, String>) -> Option<(&str, &str)> {
    let mut parts = headers.get("traceparent")?.split('-').skip(1);
    Some((parts.next()?, parts.next()?))
}

/// What follows an entry of baggage to choose a session in the next process: metadata that is an
/// entry and a header of its own once it is decoded and written as it then is, and a name that is
/// encoded twice.
pub(super) fn lying_session(seed: u64, op: OpId) -> String {
    let session = unknown_session(seed, op);
    format!(";m%2Csession.id={session}%0d%0abaggage:%20session.id={session},session%252Eid={session}")
}

/// The entries of a `baggage` header that came in, as they are taken: without metadata, and without
/// those whose name is encoded.
pub(super) fn taken_baggage(headers: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let mut entries = baggage(headers);
    entries.retain(|(key, _)| !key.contains('%'));
    for (_, value) in &mut entries {
        *value = value.split(';').next().unwrap_or_default();
    }
    entries
}

/// The entries of a `baggage` header, as they stand there.
pub(super) fn baggage(headers: &HashMap<String, String>) -> Vec<(&str, &str)> {
    let entries = headers.get("baggage").map_or("", String::as_str).split(',');
    let mut entries: Vec<_> = entries.filter_map(|entry| entry.trim().split_once('=')).collect();
    entries.sort_unstable();
    entries
}
