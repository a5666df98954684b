//! JSON values as attributes, within bounds.
//!
//! A value may have any depth and size: a model may have made it. Each call is bounded, and counts what it left out or
//! shortened. Nothing in here goes deeper than [`MAX_DEPTH`] by recursion.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde_json::{Map, Value as Json};

/// The attribute that counts the values of a span that were left out or shortened.
pub(crate) const CUT_VALUES: &str = "tracer_registry.cut_values";
/// How many tables and lists may lie in one another, the outermost table included.
pub(crate) const MAX_DEPTH: usize = 16;
/// Values of one call.
pub(crate) const MAX_VALUES: usize = 128;
/// Bytes of one text.
pub(crate) const MAX_TEXT_BYTES: usize = 32 << 10;
/// Bytes of an attribute's name. A longer one is not shortened: it would be another name.
pub(crate) const MAX_NAME_BYTES: usize = 1 << 10;
/// Bytes of the names and texts of a value that is one attribute, as JSON.
const MAX_JSON_BYTES: usize = 256 << 10;
/// What a number, a table or a list counts for among [`MAX_JSON_BYTES`].
const JSON_NODE_BYTES: usize = 8;

/// An attribute that counts cut values, where any were.
pub(crate) fn cut_values(name: &'static str, cut: u64) -> Option<KeyValue> {
    let count = i64::try_from(cut).unwrap_or(i64::MAX);
    (cut > 0).then(|| KeyValue::new(name, count))
}

/// A table as attributes: nested tables with dotted keys, a list's index as a key, nulls left out. Gives how many values were cut.
pub(crate) fn flatten(prefix: &str, table: &Json, attributes: &mut Vec<KeyValue>) -> u64 {
    let mut flattened = Flattened::new(attributes);
    if let Json::Object(entries) = table {
        entries
            .iter()
            .for_each(|(key, value)| flattened.flat(format!("{prefix}{key}"), value));
    }
    flattened.cut
}

/// The attributes of one call. All that is added is within the call's bounds together.
pub(super) struct Flattened<'a> {
    attributes: &'a mut Vec<KeyValue>,
    /// How many values may still be added.
    left: usize,
    /// Values that were left out or shortened.
    pub(super) cut: u64,
}

impl<'a> Flattened<'a> {
    pub(super) fn new(attributes: &'a mut Vec<KeyValue>) -> Self {
        Self {
            attributes,
            left: MAX_VALUES,
            cut: 0,
        }
    }

    /// An entry of a table, and all that is in it.
    pub(super) fn flat(&mut self, mut name: String, value: &Json) {
        self.walk(&mut name, value, MAX_DEPTH - 1);
    }

    /// A number with a fraction, also where it was written without one.
    pub(super) fn double(&mut self, name: &str, value: &Json) {
        match value.as_f64() {
            Some(number) => self.add(name, Value::F64(number)),
            None => self.flat(name.to_owned(), value),
        }
    }

    /// A list of texts as one attribute.
    pub(super) fn texts(&mut self, name: &str, value: &Json) {
        let texts = value
            .as_array()
            .and_then(|items| items.iter().map(Json::as_str).collect());
        let Some::<Vec<&str>>(texts) = texts else {
            return self.flat(name.to_owned(), value);
        };
        self.cut += texts.len().saturating_sub(MAX_VALUES) as u64;
        let kept = texts.iter().take(MAX_VALUES);
        let kept: Vec<StringValue> = kept
            .map(|text| shorten(text, MAX_TEXT_BYTES, &mut self.cut).into())
            .collect();
        self.add(name, Value::Array(Array::String(kept)));
    }

    /// Whatever it is as one attribute with JSON text; a text is taken to be JSON already. What does not fit is left out of the JSON,
    /// which stays whole.
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
        if self.left == 0 || name.len() > MAX_NAME_BYTES {
            self.cut += 1;
        } else {
            self.left -= 1;
            self.attributes.push(KeyValue::new(name.to_owned(), value));
        }
    }

    fn walk(&mut self, name: &mut String, value: &Json, depth: usize) {
        let end = name.len();
        match value {
            Json::Null => {}
            Json::Object(_) | Json::Array(_) if depth == 0 || self.left == 0 => self.cut += values_in(value),
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
                    write!(name, ".{index}").expect("a String takes all that is written");
                    self.walk(name, item, depth - 1);
                    name.truncate(end);
                }
            }
            // Checked before the text is copied.
            _ if self.left == 0 || name.len() > MAX_NAME_BYTES => self.cut += 1,
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

/// The beginning of a text, up to the last character that ends within the bound.
pub(crate) fn shorten(text: &str, max_bytes: usize, cut: &mut u64) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    *cut += 1;
    let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

/// An error's message, within the bound of a text.
pub(crate) fn shorten_text(text: &str) -> (String, u64) {
    let mut cut = 0;
    (shorten(text, MAX_TEXT_BYTES, &mut cut), cut)
}

/// The part of a value that is within the bounds.
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

/// How many texts, numbers and booleans are in a value, however deep.
fn values_in(value: &Json) -> u64 {
    let mut count = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Json::Null => {}
            Json::Array(items) => open.extend(items),
            Json::Object(entries) => open.extend(entries.values()),
            _ => count += 1,
        }
    }
    count
}

/// A text, number or boolean as OpenTelemetry has it.
pub(crate) fn to_otel(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(boolean) => Some(Value::Bool(*boolean)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::I64(integer),
            (None, Some(float)) if number.is_f64() => Value::F64(float),
            // An integer that OpenTelemetry has no number for: as text it is still exact.
            (None, _) => Value::String(number.to_string().into()),
        }),
        Json::String(text) => Some(Value::String(text.clone().into())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
