//! What an observer is called with.

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
    /// Protobuf by gRPC: `application/grpc`
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

/// One answered request of a project, as the observers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Received {
    /// Name of the project, if it has one.
    pub project: Option<String>,
    /// Fingerprint of the key that the request carried.
    pub key: Fingerprint,
    /// What was called.
    pub endpoint: Endpoint,
    /// Path of the request.
    pub path: String,
    /// Encoding of the body; `None` if the content type is not known.
    pub format: Option<Format>,
    /// Status of the answer, even if a fault loses it on its way; with gRPC, the one that it would have had by HTTP.
    pub status: u16,
    /// Size of the body as it came over the wire, in bytes.
    pub wire_bytes: usize,
    /// Size of the body after decompression, in bytes; the same if it could not be decompressed.
    pub body_bytes: usize,
    /// How many spans were stored.
    pub spans: usize,
    /// The spans that were stored, in the order sent; not serialized.
    #[serde(skip)]
    pub stored: Vec<Arc<Span>>,
    /// How many spans were refused by partial success.
    pub rejected_spans: u64,
    /// Sessions that the stored spans name, or that was started or enriched; each once, in order.
    pub sessions: Vec<String>,
}
