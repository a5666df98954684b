//! The numbers that JSON has no form for, as protobuf's JSON mapping writes them: `"NaN"`, `"Infinity"` and `"-Infinity"`.
//!
//! `serde_json` writes all three as null, which says nothing, and which readers take for a value that is missing.

use std::borrow::Cow;

use serde::Serializer;
use serde_json::{Map, Number, Value};

/// A value that is told as JSON: of a session, of a span, of a binding.
///
/// Made of all that [`serde_json::Value`] is made of. A number that JSON has no form for becomes the text `"NaN"`, `"Infinity"` or
/// `"-Infinity"`; in a `Value` that was made elsewhere it is null already, for that is what `serde_json` makes of it.
pub trait IntoJson {
    /// Returns the value.
    fn into_json(self) -> Value;
}

/// The text for a number that JSON has no form for.
pub(crate) fn name(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match name(*number) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(*number),
    }
}

/// Types that have no such number in them.
macro_rules! as_they_are {
    ($($type:ty),*) => {$(
        impl IntoJson for $type {
            fn into_json(self) -> Value {
                self.into()
            }
        }
    )*};
}

as_they_are!(
    Value, bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, &str, String, Cow<'_, str>, Number, Map<String, Value>, ()
);

impl IntoJson for f64 {
    fn into_json(self) -> Value {
        name(self).map_or_else(|| self.into(), Value::from)
    }
}

impl IntoJson for f32 {
    fn into_json(self) -> Value {
        // Not by way of f64, whose digits would be others.
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
    fn what_json_has_no_number_for_is_a_text_wherever_it_lies() {
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
    fn all_else_is_as_serde_json_has_it() {
        assert_eq!("text".into_json(), json!("text"));
        assert_eq!(u64::MAX.into_json(), json!(u64::MAX));
        assert_eq!((-0.5_f32).into_json(), Value::from(-0.5_f32));
        assert_eq!(Some(vec!["a"]).into_json(), json!(["a"]));
        assert_eq!(().into_json(), json!(null));
        assert_eq!(json!({"a": [1]}).into_json(), json!({"a": [1]}));
    }
}
