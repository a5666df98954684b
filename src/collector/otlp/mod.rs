//! OTLP as it is on the wire, read into the collector's own model.
//!
//! Protobuf and JSON are two ways to fill the same [`message`] types; [`read`] is the one way from there to the model,
//! so that a span is stored the same whatever it came in.

mod json;
mod message;
mod read;

#[cfg(test)]
mod tests;

use std::fmt;

use prost::Message as _;

use super::received::Format;

pub(super) use message::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, RpcStatus};
pub(super) use read::{Arrival, read};

/// A body that is not what its content type says. Its text says what is wrong and where.
#[derive(Debug)]
pub(super) struct ParseError(String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the body of a trace export.
pub(super) fn parse(format: Format, body: &[u8]) -> Result<ExportTraceServiceRequest, ParseError> {
    match format {
        Format::Protobuf | Format::Grpc => {
            ExportTraceServiceRequest::decode(body).map_err(|error| ParseError(error.to_string()))
        }
        // An empty protobuf message is an empty body; the JSON exporters that ask "are you there" do the same.
        Format::Json if body.is_empty() => Ok(ExportTraceServiceRequest::default()),
        Format::Json => {
            serde_json::from_slice(body).map_err(|error| ParseError(format!("failed to decode JSON message: {error}")))
        }
    }
}
