//! Merges enrichments of one session into one request, if the receiver cannot tell it from single ones.
//!
//! The receiver replaces `outputs` and `duration` and merges the other parts key by key. Whether it merges what is nested in a key as well,
//! and what it makes of a null, is not known, so a key that two enrichments name in the same part decides:
//!
//! | earlier | later | sent together |
//! |---|---|---|
//! | any but null | text, number, boolean | yes, the later |
//! | any | table, list | no: it may be merged into what the receiver has, which the earlier one changes |
//! | null in either | | no: it may mean that the key is null, that it is gone, or nothing |

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// The parts that the receiver merges key by key.
const MERGED: [&str; 5] = ["metadata", "feedback", "metrics", "config", "user_properties"];
/// How large a merged request may get, about. Far below what servers take, as nginx with its 1 MiB: a request must not be refused for what
/// was merged into it.
const MAX_BYTES: usize = 256 * 1024;

/// What one `PUT /events` says: the longest beginning of a row of enrichments that can be sent as one.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Merged<'a> {
    parts: BTreeMap<&'a str, Part<'a>>,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    count: usize,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Keys(BTreeMap<&'a str, &'a Value>),
    Whole(&'a Value),
}

impl<'a> Merged<'a> {
    /// How many enrichments one request may carry. So many are lost if it cannot be delivered, and are sent one by one if it is refused.
    pub(crate) const MAX_COUNT: usize = 64;

    /// Merges enrichments, in the order in which they were made, up to the first that must be sent by itself. The first is always in it.
    pub(crate) fn of(enrichments: impl IntoIterator<Item = &'a Map<String, Value>>) -> Self {
        let mut merged = Self::default();
        for next in enrichments {
            let bytes = bytes_of_fields(next);
            let bounded = merged.count < Self::MAX_COUNT && merged.bytes + bytes <= MAX_BYTES;
            if merged.count > 0 && !(bounded && merged.agrees_with(next)) {
                break;
            }
            merged.bytes += bytes;
            merged.count += 1;
            merged.add(next);
        }
        merged
    }

    /// How many enrichments are in it.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn agrees_with(&self, next: &Map<String, Value>) -> bool {
        next.iter().all(|(name, later)| match (self.parts.get(&**name), later) {
            (None, _) => true,
            (Some(Part::Keys(earlier)), Value::Object(later)) => later.iter().all(|(key, later)| {
                earlier
                    .get(&**key)
                    .is_none_or(|earlier| !earlier.is_null() && is_plain(later))
            }),
            (Some(Part::Whole(earlier)), later) => !MERGED.contains(&&**name) && !earlier.is_null() && !later.is_null(),
            (Some(Part::Keys(_)), _) => false,
        })
    }

    fn add(&mut self, next: &'a Map<String, Value>) {
        for (name, later) in next {
            match (later, self.parts.get_mut(&**name)) {
                (Value::Object(later), Some(Part::Keys(keys))) => {
                    keys.extend(later.iter().map(|(key, value)| (&**key, value)));
                }
                (Value::Object(later), None) if MERGED.contains(&&**name) => {
                    let keys = later.iter().map(|(key, value)| (&**key, value)).collect();
                    self.parts.insert(name, Part::Keys(keys));
                }
                (later, _) => {
                    self.parts.insert(name, Part::Whole(later));
                }
            }
        }
    }
}

/// Neither null nor anything that could be merged.
fn is_plain(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// About how long a value is as JSON: exact but for numbers and for what is escaped in texts.
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
