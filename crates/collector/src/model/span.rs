//! A span as received, in any format.
//!
//! Nothing is normalized, so that mistakes of the exporter are visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::fingerprint::Fingerprint;

/// Attributes by name. Byte arrays are `{"bytesValue": "<base64>"}`, and numbers that JSON lacks
/// are `"NaN"`, `"Infinity"` and `"-Infinity"`.
pub type Attributes = BTreeMap<String, Value>;

/// A span as received.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// 16 lower-case hexadecimal digits; `None` for a root.
    pub parent_span_id: Option<String>,
    /// Name of the operation.
    pub name: String,
    /// Role in the trace.
    pub kind: SpanKind,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_unix_nanos: u64,
    /// Attributes; for a duplicate name, the first value.
    pub attributes: Attributes,
    /// Number of attributes with a duplicate name.
    pub duplicate_attributes: u32,
    /// Number of attributes that the sender reports as dropped.
    pub dropped_attributes: u32,
    /// Events in the order sent.
    pub events: Vec<SpanEvent>,
    /// Number of events that the sender reports as dropped.
    pub dropped_events: u32,
    /// Links in the order sent.
    pub links: Vec<SpanLink>,
    /// Number of links that the sender reports as dropped.
    pub dropped_links: u32,
    /// Status.
    pub status: SpanStatus,
    /// W3C trace state.
    pub trace_state: String,
    /// W3C trace flags in the lowest eight bits; bits 8 and 9 tell whether the parent is remote.
    pub flags: u32,
    /// Resource that made the span.
    #[serde(serialize_with = "shared")]
    pub resource: Arc<Resource>,
    /// Instrumentation scope that made the span.
    #[serde(serialize_with = "shared")]
    pub scope: Arc<InstrumentationScope>,
    /// Value of `honeyhive.session_id`, or else of `session.id`.
    pub session_id: Option<String>,
    /// Value of the request's `X-Source` header.
    pub source: Option<String>,
    /// Fingerprint of the key that delivered it.
    pub key: Fingerprint,
    /// Position in the order of arrival, over all projects; starts at 1.
    pub sequence: u64,
}

impl Span {
    /// Returns the duration in nanoseconds; 0 if the span ends before it starts.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nanos.saturating_sub(self.start_unix_nanos)
    }
}

/// An event of a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SpanEvent {
    /// Name.
    pub name: String,
    /// Time, in nanoseconds since the Unix epoch.
    pub time_unix_nanos: u64,
    /// Attributes; for a duplicate name, the first value.
    pub attributes: Attributes,
    /// Number of attributes that the sender reports as dropped.
    pub dropped_attributes: u32,
}

/// A link to another span. Its ids are not checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SpanLink {
    /// Lower-case hexadecimal digits.
    pub trace_id: String,
    /// Lower-case hexadecimal digits.
    pub span_id: String,
    /// W3C trace state.
    pub trace_state: String,
    /// Attributes; for a duplicate name, the first value.
    pub attributes: Attributes,
    /// Number of attributes that the sender reports as dropped.
    pub dropped_attributes: u32,
    /// W3C trace flags.
    pub flags: u32,
}

/// Status of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpanStatus {
    /// Code.
    pub code: StatusCode,
    /// Message.
    pub message: String,
}

/// Code of a [`SpanStatus`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusCode {
    /// 0: the default.
    #[default]
    Unset,
    /// 1: the application reports success.
    Ok,
    /// 2: the operation failed.
    Error,
    /// A number that the specification does not define.
    Unknown(i32),
}

impl From<i32> for StatusCode {
    fn from(code: i32) -> Self {
        match code {
            0 => Self::Unset,
            1 => Self::Ok,
            2 => Self::Error,
            other => Self::Unknown(other),
        }
    }
}

/// Role of a span in its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanKind {
    /// 0: not specified.
    #[default]
    Unspecified,
    /// 1: inside the application.
    Internal,
    /// 2: serves a remote request.
    Server,
    /// 3: makes a remote request.
    Client,
    /// 4: puts a message in a queue.
    Producer,
    /// 5: takes a message out of a queue.
    Consumer,
    /// A number that the specification does not define.
    Unknown(i32),
}

impl From<i32> for SpanKind {
    fn from(kind: i32) -> Self {
        match kind {
            0 => Self::Unspecified,
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            other => Self::Unknown(other),
        }
    }
}

/// Resource of a span: a service, a process, a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Resource {
    /// Attributes; for a duplicate name, the first value.
    pub attributes: Attributes,
    /// Number of attributes that the sender reports as dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the resource.
    pub schema_url: String,
}

/// Instrumentation scope of a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InstrumentationScope {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Attributes; for a duplicate name, the first value.
    pub attributes: Attributes,
    /// Number of attributes that the sender reports as dropped.
    pub dropped_attributes: u32,
    /// Schema URL of the scope.
    pub schema_url: String,
}

/// Serializes the value in an `Arc`. serde's feature `rc` would do the same.
pub(crate) fn shared<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().serialize(serializer)
}
