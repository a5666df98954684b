//! Converts JSON values to attributes, within limits.
//!
//! A value may have any depth and size, for example if a model generated it. Each call is bounded,
//! and counts the values that it omitted or shortened. Recursion is limited to [`MAX_DEPTH`].

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde_json::{Map, Value as Json};

/// Attribute with the number of a span's values that were omitted or shortened.
pub(crate) const CUT_VALUES: &str = "tracer_registry.cut_values";
/// Maximum nesting depth of tables and lists, including the outermost table.
pub(crate) const MAX_DEPTH: usize = 16;
/// Maximum attributes per call.
pub(crate) const MAX_VALUES: usize = 128;
/// Maximum bytes of a string.
pub(crate) const MAX_TEXT_BYTES: usize = 32 << 10;
/// Maximum bytes of an attribute's name. A longer name is omitted, because shortening would change
/// its meaning.
pub(crate) const MAX_NAME_BYTES: usize = 1 << 10;
/// Maximum bytes of names and strings in a value that becomes one JSON attribute.
const MAX_JSON_BYTES: usize = 256 << 10;
/// Bytes that a number, table or list counts towards [`MAX_JSON_BYTES`].
const JSON_NODE_BYTES: usize = 8;

/// Returns an attribute with the number of cut values, or `None` if it is zero.
pub(crate) fn cut_values(name: &'static str, cut: u64) -> Option<KeyValue> {
    let count = i64::try_from(cut).unwrap_or(i64::MAX);
    (cut > 0).then(|| KeyValue::new(name, count))
}

/// Converts a table to attributes: dotted keys for nested tables, indices for list items, nothing
/// for nulls. Returns the number of values that were omitted or shortened.
pub(crate) fn flatten(prefix: &str, table: &Json, attributes: &mut Vec<KeyValue>) -> u64 {
    let mut flattened = Flattened::new(attributes);
    if let Json::Object(entries) = table {
        entries
            .iter()
            .for_each(|(key, value)| flattened.flat(format!("{prefix}{key}"), value));
    }
    flattened.cut
}

/// Attributes of one call, which share its limits.
pub(super) struct Flattened<'a> {
    attributes: &'a mut Vec<KeyValue>,
    /// Number of values that may still be added.
    remaining: usize,
    /// Number of values that were omitted or shortened.
    pub(super) cut: u64,
}

impl<'a> Flattened<'a> {
    pub(super) fn new(attributes: &'a mut Vec<KeyValue>) -> Self {
        Self {
            attributes,
            remaining: MAX_VALUES,
            cut: 0,
        }
    }

    /// Adds an entry of a table, with all nested values.
    pub(super) fn flat(&mut self, mut name: String, value: &Json) {
        self.walk(&mut name, value, MAX_DEPTH - 1);
    }

    /// Adds a number as a float, even if it was written as an integer.
    pub(super) fn double(&mut self, name: &str, value: &Json) {
        match value.as_f64() {
            Some(number) => self.add(name, Value::F64(number)),
            None => self.flat(name.to_owned(), value),
        }
    }

    /// Adds a list of strings as one attribute.
    pub(super) fn strings(&mut self, name: &str, value: &Json) {
        let strings = value
            .as_array()
            .and_then(|items| items.iter().map(Json::as_str).collect());
        let Some::<Vec<&str>>(strings) = strings else {
            return self.flat(name.to_owned(), value);
        };
        self.cut += strings.len().saturating_sub(MAX_VALUES) as u64;
        let kept = strings.iter().take(MAX_VALUES);
        let kept: Vec<StringValue> = kept
            .map(|text| shorten(text, MAX_TEXT_BYTES, &mut self.cut).into())
            .collect();
        self.add(name, Value::Array(Array::String(kept)));
    }

    /// Adds any value as one attribute with JSON text. A string is taken as JSON text already.
    /// Parts beyond the limits are omitted, and the JSON stays valid.
    pub(super) fn json(&mut self, name: &str, value: &Json) {
        let text = match value {
            Json::Null => return,
            Json::String(text) => shorten(text, MAX_JSON_BYTES, &mut self.cut),
            other => {
                let mut budget = MAX_JSON_BYTES;
                match prune(other, MAX_DEPTH, &mut budget, &mut self.cut) {
                    Some(pruned) => pruned.to_string(),
                    None => return,
                }
            }
        };
        self.add(name, Value::String(text.into()));
    }

    fn add(&mut self, name: &str, value: Value) {
        if self.remaining == 0 || name.len() > MAX_NAME_BYTES {
            self.cut += 1;
        } else {
            self.remaining -= 1;
            self.attributes.push(KeyValue::new(name.to_owned(), value));
        }
    }

    fn walk(&mut self, name: &mut String, value: &Json, depth: usize) {
        let end = name.len();
        match value {
            Json::Null => {}
            Json::Object(_) | Json::Array(_) if depth == 0 || self.remaining == 0 => self.cut += values_in(value),
            Json::Object(entries) => {
                for (key, value) in entries {
                    name.push('.');
                    name.push_str(key);
                    self.walk(name, value, depth - 1);
                    name.truncate(end);
                }
            }
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(name, ".{index}").expect("writing to a String cannot fail");
                    self.walk(name, item, depth - 1);
                    name.truncate(end);
                }
            }
            // Checked before copying the string.
            _ if self.remaining == 0 || name.len() > MAX_NAME_BYTES => self.cut += 1,
            Json::String(text) => {
                let text = shorten(text, MAX_TEXT_BYTES, &mut self.cut);
                self.add(name, Value::String(text.into()));
            }
            scalar => {
                if let Some(value) = to_otel(scalar) {
                    self.add(name, value);
                }
            }
        }
    }
}

/// Shortens a string to at most `max_bytes`, at a character boundary.
pub(crate) fn shorten(text: &str, max_bytes: usize, cut: &mut u64) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    *cut += 1;
    let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

/// Shortens an error's message to [`MAX_TEXT_BYTES`]. Also returns the number of cut values.
pub(crate) fn shorten_text(text: &str) -> (String, u64) {
    let mut cut = 0;
    (shorten(text, MAX_TEXT_BYTES, &mut cut), cut)
}

/// Returns the part of a value within the limits.
fn prune(value: &Json, depth: usize, budget: &mut usize, cut: &mut u64) -> Option<Json> {
    let is_container = value.is_array() || value.is_object();
    if *budget < JSON_NODE_BYTES || (is_container && depth == 0) {
        *cut += values_in(value);
        return None;
    }
    *budget -= JSON_NODE_BYTES;
    Some(match value {
        Json::String(text) => {
            let kept = shorten(text, MAX_TEXT_BYTES.min(*budget), cut);
            *budget -= kept.len();
            Json::String(kept)
        }
        Json::Array(items) => {
            let kept = items.iter().filter_map(|item| prune(item, depth - 1, budget, cut));
            Json::Array(kept.collect())
        }
        Json::Object(entries) => {
            let mut kept = Map::new();
            for (key, value) in entries {
                if key.len() > MAX_NAME_BYTES.min(*budget) {
                    *cut += values_in(value);
                    continue;
                }
                *budget -= key.len();
                if let Some(value) = prune(value, depth - 1, budget, cut) {
                    kept.insert(key.clone(), value);
                }
            }
            Json::Object(kept)
        }
        scalar => scalar.clone(),
    })
}

/// Returns the number of strings, numbers and booleans in a value, at any depth.
fn values_in(value: &Json) -> u64 {
    let mut count = 0;
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            Json::Null => {}
            Json::Array(items) => pending.extend(items),
            Json::Object(entries) => pending.extend(entries.values()),
            _ => count += 1,
        }
    }
    count
}

/// Converts a string, number or boolean to an OpenTelemetry value. Returns `None` for other values.
pub(crate) fn to_otel(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(boolean) => Some(Value::Bool(*boolean)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::I64(integer),
            (None, Some(float)) if number.is_f64() => Value::F64(float),
            // An integer beyond OpenTelemetry's range. A string keeps it exact.
            (None, _) => Value::String(number.to_string().into()),
        }),
        Json::String(text) => Some(Value::String(text.clone().into())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
