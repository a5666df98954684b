//! Numbers that JSON cannot represent, written as in protobuf's JSON mapping: `"NaN"`, `"Infinity"`
//! and `"-Infinity"`.
//!
//! `serde_json` writes all three as null, which readers take for a missing value.

use std::borrow::Cow;

use serde::Serializer;
use serde_json::{Map, Number, Value};

/// A value that can be recorded as JSON on a session, a span or a binding.
///
/// Implemented for every type that [`serde_json::Value`] can be made from. A number that JSON
/// cannot represent becomes the string `"NaN"`, `"Infinity"` or `"-Infinity"`. In an existing
/// `Value` such a number is already null, because `serde_json` converts it.
pub trait IntoJson {
    /// Converts to a JSON value.
    fn into_json(self) -> Value;
}

/// Returns the string for a number that JSON cannot represent, or `None` for any other number.
pub(crate) fn name(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match name(*number) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(*number),
    }
}

/// Implements `IntoJson` for types that cannot hold such a number.
macro_rules! impl_infallible {
    ($($type:ty),*) => {$(
        impl IntoJson for $type {
            fn into_json(self) -> Value {
                self.into()
            }
        }
    )*};
}

impl_infallible!(
    Value, bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, &str, String, Cow<'_, str>, Number, Map<String, Value>, ()
);

impl IntoJson for f64 {
    fn into_json(self) -> Value {
        name(self).map_or_else(|| self.into(), Value::from)
    }
}

impl IntoJson for f32 {
    fn into_json(self) -> Value {
        // Not through f64, which would print different digits.
        name(self.into()).map_or_else(|| self.into(), Value::from)
    }
}

impl<T: IntoJson> IntoJson for Option<T> {
    fn into_json(self) -> Value {
        self.map_or(Value::Null, IntoJson::into_json)
    }
}

impl<T: IntoJson> IntoJson for Vec<T> {
    fn into_json(self) -> Value {
        self.into_iter().map(IntoJson::into_json).collect()
    }
}

impl<T: IntoJson, const N: usize> IntoJson for [T; N] {
    fn into_json(self) -> Value {
        self.into_iter().map(IntoJson::into_json).collect()
    }
}

impl<T: IntoJson + Clone> IntoJson for &[T] {
    fn into_json(self) -> Value {
        self.iter().cloned().map(IntoJson::into_json).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn non_finite_numbers_become_strings_at_any_depth() {
        assert_eq!(f64::NAN.into_json(), json!("NaN"));
        assert_eq!(f32::INFINITY.into_json(), json!("Infinity"));
        assert_eq!(
            vec![Some(1.5), None, Some(f64::NEG_INFINITY)].into_json(),
            json!([1.5, null, "-Infinity"])
        );
        assert_eq!([0.1_f32, f32::NAN].into_json(), json!([0.1_f32, "NaN"]));
        assert_eq!([f64::NAN].as_slice().into_json(), json!(["NaN"]));
    }

    #[test]
    fn other_values_convert_as_in_serde_json() {
        assert_eq!("text".into_json(), json!("text"));
        assert_eq!(u64::MAX.into_json(), json!(u64::MAX));
        assert_eq!((-0.5_f32).into_json(), Value::from(-0.5_f32));
        assert_eq!(Some(vec!["a"]).into_json(), json!(["a"]));
        assert_eq!(().into_json(), json!(null));
        assert_eq!(json!({"a": [1]}).into_json(), json!({"a": [1]}));
    }
}
