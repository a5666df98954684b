//! The span handle passed to the closures of `in_span` and `in_span_async`.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};
use serde_json::Value as Json;

use crate::backend::{AttributeNames, DataPart, EventType, shorten_text};
use crate::export::Lane;
use crate::span::NOW;
use crate::util::json_depth::drop_iteratively;
use crate::util::json_number::IntoJson;

/// `error.type` of an error whose type is not known (semantic conventions, "error.type").
const OTHER_ERROR: &str = "_OTHER";

/// A reference to an open span. Clones refer to the same span, on any thread, whichever span is
/// current.
///
/// The span ends when the function that created it returns, not when this handle is dropped. Data
/// set after that is ignored. Setting a name again replaces its value.
///
/// # Data of LLM work
/// Inputs, outputs, metadata, metrics, feedback and configuration are JSON values. Their attribute
/// names depend on the backend: HoneyHive's, or OpenTelemetry's `gen_ai` conventions where they
/// have a name, or names of this crate; `docs/sessions.md` has the table. Objects and arrays become
/// one attribute per string, number and boolean, named by the keys and indices joined with dots;
/// nulls are omitted. A number without a JSON form becomes a string, see [`IntoJson`].
///
/// One call accepts up to 128 values nested up to 16 objects and arrays deep, strings of up to 32
/// KiB and names of up to 1 KiB. Messages are one attribute with JSON text and may contain 256 KiB
/// of names and strings. Data beyond these limits is omitted, and longer strings are truncated. The
/// attribute `tracer_registry.cut_values` counts the affected values, even if the span is at its
/// attribute limit. Attributes within these limits but beyond the span's attribute limit add to its
/// count of dropped attributes.
///
/// Any nesting depth is accepted. The caller must still create, clone and drop deep values
/// elsewhere with care, because `serde_json` does so recursively.
#[derive(Clone)]
pub struct ActiveSpan {
    cx: Context,
    /// Kept alive by the span anyway.
    lane: Arc<Lane>,
}

impl ActiveSpan {
    pub(crate) fn new(cx: Context, lane: Arc<Lane>) -> Self {
        Self { cx, lane }
    }

    /// Sets the kind of work that the span represents.
    ///
    /// On HoneyHive the default is derived from `gen_ai.operation.name`, else
    /// `openinference.span.kind`, else it is a tool. On other backends this sets
    /// `gen_ai.operation.name` to `chat`, `execute_tool` or `invoke_workflow`; for other
    /// operations, such as `embeddings`, set that attribute instead.
    pub fn event_type(&self, event_type: EventType) {
        self.cx.span().set_attribute(self.names().event_type(event_type));
    }

    /// Sets one input.
    pub fn input(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Inputs, key.as_ref(), value.into_json());
    }

    /// Sets inputs from an object. Any other value becomes the input `input`.
    pub fn inputs(&self, inputs: impl IntoJson) {
        self.record_table(DataPart::Inputs, "input", inputs.into_json());
    }

    /// Sets one output.
    pub fn output(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Outputs, key.as_ref(), value.into_json());
    }

    /// Sets outputs from an object. Any other value becomes the output `result`.
    pub fn outputs(&self, outputs: impl IntoJson) {
        self.record_table(DataPart::Outputs, "result", outputs.into_json());
    }

    /// Sets one metadata entry.
    pub fn metadata(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Metadata, key.as_ref(), value.into_json());
    }

    /// Sets one metric, such as `input_tokens`.
    pub fn metric(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Metrics, key.as_ref(), value.into_json());
    }

    /// Sets one feedback entry, such as a user's rating.
    pub fn feedback(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Feedback, key.as_ref(), value.into_json());
    }

    /// Sets one configuration entry, such as `model` or `temperature`.
    pub fn config(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Config, key.as_ref(), value.into_json());
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.cx.span().set_attribute(KeyValue::new(key, value));
    }

    /// Sets several attributes.
    pub fn set_attributes(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        // Runs the caller's iterator before the span is locked.
        let attributes: Vec<KeyValue> = attributes.into_iter().collect();
        self.cx.span().set_attributes(attributes);
    }

    /// Adds an event with the current time.
    pub fn add_event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        self.cx.span().add_event_with_timestamp(name, NOW, attributes);
    }

    /// Records an error as an event, sets the status to error, and sets `error.type`.
    ///
    /// The type is the Rust type name, such as `std::io::error::Error`, or `_OTHER` for a `dyn
    /// Error`. HoneyHive also receives message and type as separate attributes.
    pub fn record_error<E: Error + ?Sized>(&self, error: &E) {
        let span = self.cx.span();
        if !span.is_recording() {
            return;
        }
        self.record_failure::<E>(shorten_text(&error.to_string()));
    }

    /// Records an error by its message, already truncated, and the number of values cut by that.
    pub(crate) fn record_failure<E: ?Sized>(&self, (message, cut): (String, u64)) {
        let span = self.cx.span();
        let error_type = type_of::<E>();
        let mut event = vec![KeyValue::new("exception.message", message.clone())];
        if error_type != OTHER_ERROR {
            event.push(KeyValue::new("exception.type", error_type));
        }
        span.add_event_with_timestamp("exception", NOW, event);
        span.set_attributes(self.names().error(&message, error_type));
        span.set_status(Status::error(message));
        self.note_cut(cut);
    }

    /// Sets the status.
    pub fn set_status(&self, status: Status) {
        self.cx.span().set_status(status);
    }

    /// Returns the span's trace id, span id and flags.
    pub fn span_context(&self) -> SpanContext {
        self.cx.span().span_context().clone()
    }

    /// Returns the context in which this span is current, for OpenTelemetry's own functions.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Returns the same span with another context in which it is current.
    #[cfg(feature = "tower")]
    pub(crate) fn in_context(&self, cx: Context) -> Self {
        Self::new(cx, Arc::clone(&self.lane))
    }

    pub(crate) fn end(&self) {
        self.cx.span().end_with_timestamp(NOW);
    }

    fn names(&self) -> &'static AttributeNames {
        self.lane.destination.names
    }

    fn record_entry(&self, part: DataPart, key: &str, value: Json) {
        self.record(part, [(key, &value)]);
        drop_iteratively(value);
    }

    fn record_table(&self, part: DataPart, key_of_others: &str, value: Json) {
        match &value {
            Json::Object(entries) => self.record(part, entries.iter().map(|(key, value)| (key.as_str(), value))),
            other => self.record(part, [(key_of_others, other)]),
        }
        drop_iteratively(value);
    }

    fn record<'a>(&self, part: DataPart, entries: impl IntoIterator<Item = (&'a str, &'a Json)>) {
        let span = self.cx.span();
        if span.is_recording() {
            let converted = self.names().span_data(part, entries);
            span.set_attributes(converted.attributes);
            self.note_cut(converted.cut);
        }
    }

    /// Records data that was already limited, and the number of values cut by that. A value other
    /// than an object becomes the entry `result`.
    #[cfg(feature = "macros")]
    pub(crate) fn record_captured(&self, part: DataPart, value: Json, cut: u64) {
        self.record_table(part, "result", value);
        self.note_cut(cut);
    }

    pub(crate) fn note_cut(&self, values: u64) {
        if values == 0 {
            return;
        }
        let span = self.cx.span();
        let id = span.span_context().span_id();
        self.lane.note_cut(id, values);
        // The span takes the count at its end, unless it ended on another thread just before this.
        if !span.is_recording() {
            self.lane.forget_cut(id);
        }
    }
}

/// Returns the name of a type without leading references.
pub(crate) fn type_of<E: ?Sized>() -> &'static str {
    let name = std::any::type_name::<E>().trim_start_matches('&');
    if name.contains("dyn ") { OTHER_ERROR } else { name }
}

impl fmt::Debug for ActiveSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActiveSpan({})", self.cx.span().span_context().span_id())
    }
}
