//! Converts OTLP/JSON trace requests to protobuf.
//!
//! Reads OTLP's JSON mapping: trace and span ids in hexadecimal of either case, enumerations as
//! integers, unknown fields ignored. What OTLP leaves open follows protobuf's JSON mapping:
//!
//! - Field names are in camel case or as in the `.proto` files.
//! - `null` is an absent field. As an element of a list it is refused.
//! - Integers are numbers or strings, also with a fraction or an exponent if the value is integral.
//! - Doubles are numbers, strings with a number, `"NaN"`, `"Infinity"` or `"-Infinity"`.
//! - Bytes are base64, standard or URL-safe, with or without padding.
//! - Enumerations may also be names, as released clients send them. An unknown name is an absent
//!   field.
//!
//! Refused, because readers of protobuf would disagree about the result: a field that occurs twice,
//! in either spelling, and an `AnyValue` with two values.

mod convert;
mod output;
mod scalar;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::Error as _;

use convert::{Step, convert};

/// Length in bytes after which the path in an error is cut.
const MAX_PATH: usize = 256;

/// Why a JSON text is no OTLP trace request. Its text is bounded and has no value of the input.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {rule}")]
pub(crate) struct JsonError {
    path: String,
    rule: serde_json::Error,
}

impl JsonError {
    fn at(steps: &[Step], rule: serde_json::Error) -> Self {
        Self {
            path: path(steps).unwrap_or_default(),
            rule,
        }
    }
}

/// Converts an OTLP/JSON `ExportTraceServiceRequest` to protobuf.
///
/// Takes time and memory linear in the input, and refuses values nested deeper than 32. Does not
/// check that ids are present or have the right length.
pub(crate) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let refused = |rule: &str| JsonError::at(&[], serde_json::Error::custom(rule));
    let text = std::str::from_utf8(json).map_err(|_| refused("must be UTF-8"))?;
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(refused("must be a JSON object"));
    }
    convert(text).map_err(|(steps, rule)| JsonError::at(&steps, rule))
}

/// The path as `resourceSpans[0].resource`.
fn path(steps: &[Step]) -> Result<String, fmt::Error> {
    use fmt::Write as _;

    let mut path = String::from("request");
    for step in steps {
        if path.len() > MAX_PATH {
            path.push_str("...");
            break;
        }
        match step {
            Step::Field(name) => write!(path, ".{name}")?,
            Step::Element(index) => write!(path, "[{index}]")?,
        }
    }
    Ok(path)
}
