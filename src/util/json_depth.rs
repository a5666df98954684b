//! How deep a value may be nested that a file or a program gives.
//!
//! Writing, copying, comparing and freeing a value are recursive: one that is nested ten thousand levels deep overflows the stack of
//! whichever thread does so. So a value is cut where it comes in, before anything else is done with it.

use serde_json::Value;

use crate::util::json_number::IntoJson;

/// How many tables and lists may be one in the other. The body around a value adds three, and readers commonly give up at 128 (serde_json
/// does).
pub(crate) const MAX_LEVELS: usize = 64;

/// A value as it may be told: a table or list that is nested deeper than [`MAX_LEVELS`] is null, so that lists keep their places.
pub(crate) fn bounded(value: impl IntoJson) -> Value {
    let mut value = value.into_json();
    cut(&mut value, MAX_LEVELS);
    value
}

/// Whether at most so many tables and lists are one in the other.
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
        Value::Array(_) | Value::Object(_) if levels == 0 => take_apart(value.take()),
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, levels - 1)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, levels - 1)),
        _ => {}
    }
}

/// Frees a value level by level: the drop of a value as it is goes as deep as the value.
pub(crate) fn take_apart(value: Value) {
    let is_container = |value: &Value| value.is_array() || value.is_object();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items.into_iter().filter(is_container)),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, field)| field).filter(is_container)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Lists and tables by turns, with a text beside each inner one.
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
    fn a_value_within_the_bound_is_as_it_was() {
        for value in [json!(7), json!({}), nested(3), nested(MAX_LEVELS)] {
            assert_eq!(bounded(value.clone()), value);
        }
    }

    #[test]
    fn what_is_deeper_is_null_and_all_beside_it_stays() {
        let value = bounded(nested(MAX_LEVELS + 1));
        assert_eq!(levels(&value), MAX_LEVELS);
        let text = value.to_string();
        assert_eq!(text.matches(r#""beside""#).count(), MAX_LEVELS + MAX_LEVELS / 2);
        assert_eq!((text.matches("null").count(), text.matches("core").count()), (1, 0));
    }

    #[test]
    fn a_value_a_hundred_thousand_levels_deep_overflows_nothing() {
        let deep = nested(100_000);
        assert!(!is_within(&deep, MAX_LEVELS));
        assert_eq!(levels(&bounded(deep)), MAX_LEVELS);
    }

    #[test]
    fn a_value_is_within_as_many_levels_as_it_has() {
        for many in 0..5 {
            assert!(is_within(&nested(many), many));
            assert!(many == 0 || !is_within(&nested(many), many - 1));
        }
    }
}
