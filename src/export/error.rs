//! Why a request failed, as `status()` and reports show it.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::KeyRefusalStatus;
use crate::util::grpc_code;

/// Why a request to a tracer's destination failed.
///
/// Never contains the key or a proxy's credentials: a receiver's text that may repeat one of them, in whatever spelling, is withheld, and its
/// length stands in its place.
///
/// Serialized as its message. Two errors are equal if they have the same message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The server answered with a status that is no success.
    #[error("{url} answered {status}{}{}", said(.message.as_ref()), asked(*.retry_after))]
    Status {
        /// Where the request went.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server said: on one line, at most 200 characters.
        message: Option<String>,
        /// How long it asked to wait before the next request.
        retry_after: Option<Duration>,
    },
    /// The server answered by gRPC with a status that is no success.
    #[error("{url} answered {} ({code}){}{}", grpc_code::name(*.code).unwrap_or("UNKNOWN"), said(.message.as_ref()), asked(*.retry_after))]
    Grpc {
        /// Where the request went.
        url: String,
        /// The status, as a number.
        code: i32,
        /// What the server said: on one line, at most 200 characters.
        message: Option<String>,
        /// How long it asked to wait before the next request.
        retry_after: Option<Duration>,
    },
    /// The server took the request and rejected some of its spans.
    #[error("{url} rejected {rejected} spans{}", said(.message.as_ref()))]
    PartialSuccess {
        /// Where the request went.
        url: String,
        /// How many spans it rejected.
        rejected: u64,
        /// What the server said: on one line, at most 200 characters.
        message: Option<String>,
    },
    /// The server took the request, and its answer cannot be read, or not to the end: what it says of rejected spans may be missing.
    #[error("{url} answered {status} and took the request, but its answer cannot be read: {reason}")]
    AnswerUnread {
        /// Where the request went.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Why, and how much of it came.
        reason: String,
    },
    /// The server answered with a success that is no answer of a receiver of traces, such as the login page of a gateway.
    #[error("{url} answered {status} with {}, which is no answer of a receiver{}", .content_type.as_deref().unwrap_or("no content type"), .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NoReceiver {
        /// Where the request went.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server calls its answer.
        content_type: Option<String>,
        /// What the server said, without the tags of HTML: on one line, at most 200 characters.
        message: Option<String>,
    },
    /// No answer in time.
    #[error("{url} did not answer within {timeout:?}")]
    Timeout {
        /// Where the request went.
        url: String,
        /// The time it had.
        timeout: Duration,
    },
    /// No connection, or one that broke.
    #[error("{url} cannot be reached: {reason}")]
    Connection {
        /// Where the request went.
        url: String,
        /// What broke.
        reason: String,
    },
    /// Nothing was sent: others failed before, and the breaker did not let it through in its time.
    #[error(
        "{url} was not asked: requests to it failed several times in a row, and one at a time tries whether it is back"
    )]
    Unavailable {
        /// Scheme, host and port of where the request was to go.
        url: String,
    },
    /// The server sends elsewhere, and the request was not sent there: a key never goes to another host, and spans go along by 307 and
    /// 308 only.
    #[error(
        "{url} redirects elsewhere ({status}); followed are 307 and 308 to the same host, a key is never sent to another one"
    )]
    Redirect {
        /// Where the request went.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// What a request was to carry cannot be encoded, or the code that encodes and sends it panicked.
    #[error("the request cannot be made: {0}")]
    Encoding(String),
    /// The error was read back from a status, as its message.
    #[error("{0}")]
    Reported(String),
}

impl ExportError {
    /// The status, if the server refused the key by it.
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

fn said(message: Option<&String>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

fn asked(retry_after: Option<Duration>) -> String {
    let in_words = |wait: Duration| format!("; it asked to wait {wait:?}");
    retry_after.map(in_words).unwrap_or_default()
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
