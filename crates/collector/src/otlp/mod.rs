//! OTLP as it is on the wire, read into the collector's own model.
//!
//! Protobuf and JSON are two ways to fill the messages of `opentelemetry-proto`; [`read`] is the
//! one way from there to the model, so a span is stored the same whatever it came in.

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

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    /// It is not what its content type says. The text says what is wrong and where.
    #[error("{0}")]
    Invalid(String),
    /// It would take more memory than it may.
    #[error("the content takes more than {0} bytes of memory")]
    TooLarge(usize),
}

/// Reads the body of a trace export, if it takes no more memory than `max_memory` bytes.
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
        // An empty protobuf message is an empty body; the JSON exporters that ask "are you there" do the same.
        Format::Json if body.is_empty() => Ok(ExportTraceServiceRequest::default()),
        Format::Json => json::request(body).map_err(|error| invalid_json(&error)),
    }
}

/// Reads a JSON object of any content, if it takes no more memory than `max_memory` bytes.
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
