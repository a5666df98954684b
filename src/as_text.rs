//! Errors as they are shown, in what is serialized.

use std::fmt::Display;

use serde::Serializer;

/// An error by its message; none where there is none.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn as_text<T: Display, S: Serializer>(error: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}
