//! Bounds the nesting depth of JSON from files and programs.
//!
//! Serializing, cloning, comparing and dropping a JSON value are recursive, so a value nested ten
//! thousand levels deep overflows the stack. Values are therefore truncated on entry, before any
//! other use.

use serde_json::Value;

use crate::util::json_number::IntoJson;

/// Maximum nesting depth of tables and lists. The request body around a value adds three levels,
/// and parsers commonly stop at 128 (serde_json does).
pub(crate) const MAX_LEVELS: usize = 64;

/// Converts a value, and replaces each table or list nested deeper than [`MAX_LEVELS`] with null.
/// Null keeps the indices of list items.
pub(crate) fn bounded(value: impl IntoJson) -> Value {
    let mut value = value.into_json();
    cut(&mut value, MAX_LEVELS);
    value
}

/// Returns whether tables and lists are nested at most `levels` deep.
pub(crate) fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => false,
        Value::Array(items) => items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(fields) => fields.values().all(|field| is_within(field, levels - 1)),
        _ => true,
    }
}

fn cut(value: &mut Value, levels: usize) {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => drop_iteratively(value.take()),
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, levels - 1)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, levels - 1)),
        _ => {}
    }
}

/// Drops a value iteratively. The normal drop recurses as deep as the value is nested.
pub(crate) fn drop_iteratively(value: Value) {
    let is_container = |value: &Value| value.is_array() || value.is_object();
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            Value::Array(items) => pending.extend(items.into_iter().filter(is_container)),
            Value::Object(fields) => pending.extend(fields.into_iter().map(|(_, field)| field).filter(is_container)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Returns lists and tables nested alternately, with a string beside each inner value.
    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!("core"), |inner, level| {
            if level % 2 == 0 {
                Value::Array(vec![json!("beside"), inner])
            } else {
                Value::Object(Map::from_iter([
                    ("beside".to_owned(), json!("beside")),
                    ("in".to_owned(), inner),
                ]))
            }
        })
    }

    fn levels(value: &Value) -> usize {
        let inner = match value {
            Value::Array(items) => items.iter().map(levels).max(),
            Value::Object(fields) => fields.values().map(levels).max(),
            _ => return 0,
        };
        1 + inner.unwrap_or(0)
    }

    #[test]
    fn a_value_within_the_bound_is_unchanged() {
        for value in [json!(7), json!({}), nested(3), nested(MAX_LEVELS)] {
            assert_eq!(bounded(value.clone()), value);
        }
    }

    #[test]
    fn deeper_values_become_null_and_their_siblings_stay() {
        let value = bounded(nested(MAX_LEVELS + 1));
        assert_eq!(levels(&value), MAX_LEVELS);
        let text = value.to_string();
        assert_eq!(text.matches(r#""beside""#).count(), MAX_LEVELS + MAX_LEVELS / 2);
        assert_eq!((text.matches("null").count(), text.matches("core").count()), (1, 0));
    }

    #[test]
    fn a_value_nested_a_hundred_thousand_levels_deep_overflows_no_stack() {
        let deep = nested(100_000);
        assert!(!is_within(&deep, MAX_LEVELS));
        assert_eq!(levels(&bounded(deep)), MAX_LEVELS);
    }

    #[test]
    fn is_within_counts_levels_exactly() {
        for many in 0..5 {
            assert!(is_within(&nested(many), many));
            assert!(many == 0 || !is_within(&nested(many), many - 1));
        }
    }
}
