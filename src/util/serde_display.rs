//! Errors as their messages, in serialized data and in `Debug` output.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serializer};

/// Makes an error's `Debug` print its message, because `main` and `unwrap` print errors with
/// `Debug`.
macro_rules! debug_as_display {
    ($error:ty) => {
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use debug_as_display;

/// Serializes an error as its message.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn serialize<T: Display, S: Serializer>(error: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

/// Error that can be restored from its message.
pub(crate) trait FromMessage {
    fn from_message(message: String) -> Self;
}

/// Deserializes an error from its message.
pub(crate) fn deserialize<'de, T: FromMessage, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(T::from_message))
}
