//! Merges enrichments of one session into one request, if the receiver's state is the same as after
//! separate requests.
//!
//! The receiver replaces `outputs` and `duration`, and merges the other known parts by key. Its
//! handling of other parts is unknown, so only one enrichment of a request may have them. Its
//! handling of nested values and nulls is unknown too, so the values decide if two enrichments set
//! the same key of a part:
//!
//! | earlier | later | merged |
//! |---|---|---|
//! | not null | string, number, boolean | yes: the later value wins |
//! | any | table, list | no: the receiver may merge it into existing data, which the earlier one changes |
//! | null in either | | no: null may set the key to null, delete it, or do nothing |

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// Parts that the receiver merges by key.
const MERGED_PARTS: [&str; 5] = ["metadata", "feedback", "metrics", "config", "user_properties"];
/// Parts that the receiver replaces.
const REPLACED_PARTS: [&str; 2] = ["outputs", "duration"];
/// Id of the session or event.
const ID: &str = "event_id";
/// Approximate maximum size of a merged request. Far below common server limits, such as nginx's 1
/// MiB, so merging never gets a request refused.
const MAX_BYTES: usize = 256 * 1024;

/// Body of one `PUT /events`: the longest prefix of a list of enrichments that can be merged.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct MergedEnrichment<'a> {
    parts: BTreeMap<&'a str, SessionPart<'a>>,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    count: usize,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SessionPart<'a> {
    ByKey(BTreeMap<&'a str, &'a Value>),
    Whole(&'a Value),
}

impl<'a> MergedEnrichment<'a> {
    /// Maximum enrichments per request. All of them are lost if the request cannot be delivered,
    /// and are sent one by one if it is refused.
    pub(crate) const MAX_COUNT: usize = 64;

    /// Merges enrichments in order, up to the first that must be sent separately. Always takes the
    /// first one.
    pub(crate) fn of(enrichments: impl IntoIterator<Item = &'a Map<String, Value>>) -> Self {
        let mut merged = Self::default();
        for next in enrichments {
            let bytes = bytes_of_fields(next);
            let bounded = merged.count < Self::MAX_COUNT && merged.bytes + bytes <= MAX_BYTES;
            if merged.count > 0 && !(bounded && merged.can_merge(next)) {
                break;
            }
            merged.bytes += bytes;
            merged.count += 1;
            merged.add(next);
        }
        merged
    }

    /// Returns the number of merged enrichments.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn can_merge(&self, next: &Map<String, Value>) -> bool {
        next.iter().all(|(name, later)| match (self.parts.get(&**name), later) {
            (Some(SessionPart::Whole(earlier)), later) if name == ID => *earlier == later,
            (None, _) => true,
            (Some(SessionPart::ByKey(earlier)), Value::Object(later)) => later.iter().all(|(key, later)| {
                earlier
                    .get(&**key)
                    .is_none_or(|earlier| !earlier.is_null() && is_scalar(later))
            }),
            (Some(SessionPart::Whole(earlier)), later) => {
                REPLACED_PARTS.contains(&&**name) && !earlier.is_null() && !later.is_null()
            }
            (Some(SessionPart::ByKey(_)), _) => false,
        })
    }

    fn add(&mut self, next: &'a Map<String, Value>) {
        for (name, later) in next {
            match (later, self.parts.get_mut(&**name)) {
                (Value::Object(later), Some(SessionPart::ByKey(keys))) => {
                    keys.extend(later.iter().map(|(key, value)| (&**key, value)));
                }
                (Value::Object(later), None) if MERGED_PARTS.contains(&&**name) => {
                    let keys = later.iter().map(|(key, value)| (&**key, value)).collect();
                    self.parts.insert(name, SessionPart::ByKey(keys));
                }
                (later, _) => {
                    self.parts.insert(name, SessionPart::Whole(later));
                }
            }
        }
    }
}

/// Returns whether a value is neither null nor mergeable.
fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// Estimates a value's length as JSON. Exact except for numbers and escapes in strings.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(_) => 20,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| bytes_of(item) + 1).sum::<usize>(),
        Value::Object(fields) => bytes_of_fields(fields),
    }
}

fn bytes_of_fields(fields: &Map<String, Value>) -> usize {
    2 + fields
        .iter()
        .map(|(name, field)| name.len() + 4 + bytes_of(field))
        .sum::<usize>()
}
