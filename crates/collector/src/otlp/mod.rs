//! Decodes OTLP into the collector's model.
//!
//! Protobuf and JSON are decoded into the messages of `opentelemetry-proto`. [`read`] converts
//! these to the model, so both formats give the same spans.

mod json;
mod measure;
mod read;

#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Map, Value};

use self::measure::{Allowance, Kind};

use crate::model::Format;

pub(crate) use read::{Arrival, read};

/// Error of decoding a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    /// The body does not match its content type. The text has the reason and the position.
    #[error("{0}")]
    Invalid(String),
    /// The decoded body exceeds the memory limit in bytes.
    #[error("decoded body exceeds {0} bytes of memory")]
    TooLarge(usize),
}

/// Decodes the body of a trace export, with a limit of `max_memory` bytes for the result.
pub(crate) fn parse(format: Format, body: &[u8], max_memory: usize) -> Result<ExportTraceServiceRequest, ParseError> {
    let mut allowance = Allowance::new(max_memory);
    match format {
        Format::Protobuf | Format::Grpc => measure::protobuf(Kind::Request, body, &mut allowance),
        Format::Json => measure::json(Kind::Request, body, &mut allowance),
    }
    if allowance.is_exceeded() {
        return Err(ParseError::TooLarge(max_memory));
    }
    match format {
        Format::Protobuf | Format::Grpc => {
            ExportTraceServiceRequest::decode(body).map_err(|error| ParseError::Invalid(error.to_string()))
        }
        // Some JSON exporters send an empty body as a probe. For protobuf it is a valid message
        // anyway.
        Format::Json if body.is_empty() => Ok(ExportTraceServiceRequest::default()),
        Format::Json => json::request(body).map_err(|error| invalid_json(&error)),
    }
}

/// Decodes any JSON object, with a limit of `max_memory` bytes for the result.
pub(crate) fn parse_object(body: &[u8], max_memory: usize) -> Result<Map<String, Value>, ParseError> {
    let mut allowance = Allowance::new(max_memory);
    measure::json(Kind::Json, body, &mut allowance);
    if allowance.is_exceeded() {
        return Err(ParseError::TooLarge(max_memory));
    }
    serde_json::from_slice(body).map_err(|error| invalid_json(&error))
}

fn invalid_json(error: &serde_json::Error) -> ParseError {
    ParseError::Invalid(format!("failed to decode JSON message: {error}"))
}
