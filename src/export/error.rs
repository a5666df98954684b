//! Export errors, as `status()` and reports show them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::KeyRefusalStatus;
use crate::util::grpc_code;

/// Error of a request to a tracer's destination.
///
/// Never contains the key or a proxy's credentials: a receiver's text that may contain one of them,
/// in any encoding, is replaced by its length.
///
/// Serialized as its message. Errors with the same message are equal.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The server answered with an HTTP error status.
    #[error("{url} answered {status}{}{}", message_suffix(.message.as_ref()), wait_suffix(*.retry_after))]
    Status {
        /// URL of the request.
        url: String,
        /// HTTP status.
        status: u16,
        /// Message of the server: one line, at most 200 characters.
        message: Option<String>,
        /// Wait before the next request, if the server requested one.
        retry_after: Option<Duration>,
    },
    /// The server answered with a gRPC error status.
    #[error("{url} answered {} ({code}){}{}", grpc_code::name(*.code).unwrap_or("UNKNOWN"), message_suffix(.message.as_ref()), wait_suffix(*.retry_after))]
    Grpc {
        /// URL of the request.
        url: String,
        /// gRPC status code.
        code: i32,
        /// Message of the server: one line, at most 200 characters.
        message: Option<String>,
        /// Wait before the next request, if the server requested one.
        retry_after: Option<Duration>,
    },
    /// The server accepted the request and rejected some of its spans.
    #[error("{url} rejected {rejected} spans{}", message_suffix(.message.as_ref()))]
    PartialSuccess {
        /// URL of the request.
        url: String,
        /// Number of rejected spans.
        rejected: u64,
        /// Message of the server: one line, at most 200 characters.
        message: Option<String>,
    },
    /// The server accepted the request, but its answer cannot be read completely. Its count of
    /// rejected spans may be missing.
    #[error("{url} answered {status}, but its body cannot be read: {reason}")]
    UnreadableAnswer {
        /// URL of the request.
        url: String,
        /// HTTP status.
        status: u16,
        /// Cause, and how much of the answer was received.
        reason: String,
    },
    /// The server answered with a success that is not an OTLP response, such as the login page of a
    /// gateway.
    #[error("{url} answered {status} with {}, which is not an OTLP response{}", .content_type.as_deref().unwrap_or("no content type"), .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NotOtlpResponse {
        /// URL of the request.
        url: String,
        /// HTTP status.
        status: u16,
        /// Content type of the answer.
        content_type: Option<String>,
        /// Text of the answer without HTML tags: one line, at most 200 characters.
        message: Option<String>,
    },
    /// The server did not answer in time.
    #[error("{url} did not answer within {timeout:?}")]
    Timeout {
        /// URL of the request.
        url: String,
        /// Timeout of the request.
        timeout: Duration,
    },
    /// The connection could not be opened, or broke.
    #[error("{url} cannot be reached: {reason}")]
    Connection {
        /// URL of the request.
        url: String,
        /// Cause of the failure.
        reason: String,
    },
    /// The request was not sent: a breaker was open after earlier failures.
    #[error("{url} is unavailable: its breaker is open after repeated failures")]
    Unavailable {
        /// Scheme, host and port of the destination.
        url: String,
    },
    /// The server redirected the request, and the redirect was not followed. Only 307 and 308 to
    /// the same host are followed, because a key is never sent to another host.
    #[error("{url} redirects ({status}): only 307 and 308 to the same host are followed")]
    Redirect {
        /// URL of the request.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The request could not be encoded, or encoding or sending it panicked.
    #[error("cannot encode the request: {0}")]
    Encoding(String),
    /// The message of an error that was deserialized from a status.
    #[error("{0}")]
    Reported(String),
}

impl ExportError {
    /// Returns the status if it means that the server refused the key.
    pub(crate) fn key_refusal(&self) -> Option<KeyRefusalStatus> {
        match self {
            Self::Status {
                status: status @ (401 | 403),
                ..
            } => Some(KeyRefusalStatus::Http(*status)),
            Self::Grpc {
                code: code @ (grpc_code::PERMISSION_DENIED | grpc_code::UNAUTHENTICATED),
                ..
            } => Some(KeyRefusalStatus::Grpc(*code)),
            _ => None,
        }
    }
}

fn message_suffix(message: Option<&String>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

fn wait_suffix(retry_after: Option<Duration>) -> String {
    retry_after
        .map(|wait| format!("; retry after {wait:?}"))
        .unwrap_or_default()
}

impl PartialEq for ExportError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for ExportError {}

impl<'de> Deserialize<'de> for ExportError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Reported)
    }
}

impl Serialize for ExportError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
