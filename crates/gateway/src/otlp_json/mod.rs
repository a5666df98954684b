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
//! Refused, because readers would disagree about the result: a known field that occurs twice, in
//! either spelling, and an `AnyValue` with two values.

mod convert;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod output;
mod scalar;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::Error as _;
use tracer_registry::ingest::Traces;

use convert::{Step, convert};

/// Names and indices in a path that an error shows.
const MAX_STEPS: usize = 16;

/// A body is not OTLP/JSON traces. The message is bounded and has no value of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJson(String);

/// Reads traces in OTLP/JSON, as the gateway reads a request.
///
/// # Errors
/// Returns [`InvalidJson`] with the first rule that the body breaks, and where.
pub fn traces_from_json(body: &[u8]) -> Result<Traces, InvalidJson> {
    let converted = to_protobuf(body).map_err(|error| InvalidJson(error.to_string()))?;
    Traces::from_protobuf(converted.into()).map_err(|error| InvalidJson(error.to_string()))
}

/// Place and rule of the first fault of a JSON text. The text is bounded and has no value of the
/// input.
#[derive(Debug)]
pub(crate) struct JsonError {
    path: Vec<Step>,
    rule: serde_json::Error,
}

/// Converts an OTLP/JSON `ExportTraceServiceRequest` to protobuf.
///
/// Takes time and memory linear in the input, and refuses more than 32 levels of values. Does not
/// check that ids are present or have the right length.
pub(crate) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let refused = |rule: &str| JsonError {
        path: Vec::new(),
        rule: serde_json::Error::custom(rule),
    };
    let text = std::str::from_utf8(json).map_err(|_| refused("not valid UTF-8"))?;
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(refused("expected an object"));
    }
    convert(text).map_err(|(path, rule)| JsonError { path, rule })
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.path.iter().take(MAX_STEPS);
        for (depth, step) in shown.enumerate() {
            match step {
                Step::Field(name) if depth == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Element(index) => write!(f, "[{index}]")?,
            }
        }
        f.write_str(match self.path.len() {
            0 => "",
            1..=MAX_STEPS => ": ",
            _ => "...: ",
        })?;
        self.rule.fmt(f)
    }
}

impl std::error::Error for JsonError {}
