//! Request data for observers.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::endpoint::Endpoint;
use super::fingerprint::Fingerprint;
use super::span::Span;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
    /// Protobuf over gRPC: `application/grpc`
    Grpc,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::Grpc => "grpc",
        })
    }
}

/// A request of a project with its response, for observers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Received {
    /// Name of the project, if it has one.
    pub project: Option<String>,
    /// Fingerprint of the key in the request.
    pub key: Fingerprint,
    /// Called endpoint.
    pub endpoint: Endpoint,
    /// Path of the request.
    pub path: String,
    /// Encoding of the body. `None` if the content type is unknown.
    pub format: Option<Format>,
    /// HTTP status of the response, also for gRPC and if a fault discards the response.
    pub status: u16,
    /// Size of the body on the wire, in bytes.
    pub wire_bytes: usize,
    /// Size of the decompressed body in bytes, or `wire_bytes` if decompression failed.
    pub body_bytes: usize,
    /// Number of stored spans.
    pub spans: usize,
    /// Stored spans in the order sent. Not serialized.
    #[serde(skip)]
    pub stored: Vec<Arc<Span>>,
    /// Number of spans rejected by partial success.
    pub rejected_spans: u64,
    /// Ids of the sessions of stored spans, or of the started or enriched session; each once, in
    /// order.
    pub sessions: Vec<String>,
}
