//! The span that a closure of `in_span_async` works on.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};
use serde_json::Value as Json;

use crate::backend::{DataPart, EventType, Spelling, shorten_text};
use crate::export::Lane;
use crate::span::NOW;
use crate::util::json_depth::take_apart;
use crate::util::json_number::IntoJson;

/// `error.type` of an error whose type is not known (semantic conventions, "error.type").
const OTHER_ERROR: &str = "_OTHER";

/// An open span, by reference: clones are the same span, on whatever thread, and what is set lands on it whichever span is current.
///
/// It ends when the function that made it returns, not when this is dropped; what is set after that is ignored. What is set twice
/// under one name has the value that was set last.
///
/// # Data of LLM work
/// Inputs, outputs, metadata, metrics, feedback and configuration are JSON values under the names of the tracer's backend: HoneyHive's, else
/// those of OpenTelemetry's `gen_ai` conventions, else names of our own; the README has the table. Tables and lists become one
/// attribute for each text, number and boolean in them, with the keys and indices on the way joined by dots; nulls are left out. A number
/// that JSON has no form for is a text, see [`IntoJson`].
///
/// One call takes up to 128 values that lie up to 16 tables and lists deep, texts of up to 32 KiB and names of up to 1 KiB. Messages, which are
/// one attribute with JSON text, may have 256 KiB of names and texts in them. What is beyond is left out, a text's end as well, and the
/// attribute `tracer_registry.cut_values` counts the values that this happened to; it is there whatever the span's limit. What is
/// within these bounds but not within the span's limit of attributes is in its count of dropped attributes.
///
/// A value may be nested as deep as it likes once it is here. To make it, to clone it or to drop it elsewhere is the caller's:
/// `serde_json` does that by recursion.
#[derive(Clone)]
pub struct ActiveSpan {
    cx: Context,
    /// Kept by the span anyway.
    lane: Arc<Lane>,
}

impl ActiveSpan {
    pub(crate) fn new(cx: Context, lane: Arc<Lane>) -> Self {
        Self { cx, lane }
    }

    /// Sets what kind of work the span is.
    ///
    /// On HoneyHive the default is what `gen_ai.operation.name` says, else `openinference.span.kind`, else a tool. Elsewhere this sets
    /// `gen_ai.operation.name`, to `chat`, `execute_tool` or `invoke_workflow`; for another operation, such as `embeddings`, set that
    /// attribute instead.
    pub fn event_type(&self, event_type: EventType) {
        self.cx.span().set_attribute(self.spelling().event_type(event_type));
    }

    /// One input.
    pub fn input(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Inputs, key.as_ref(), value.into_json());
    }

    /// Inputs: a table. Any other value is the one input `input`.
    pub fn inputs(&self, inputs: impl IntoJson) {
        self.record_table(DataPart::Inputs, "input", inputs.into_json());
    }

    /// One output.
    pub fn output(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Outputs, key.as_ref(), value.into_json());
    }

    /// Outputs: a table. Any other value is the one output `result`.
    pub fn outputs(&self, outputs: impl IntoJson) {
        self.record_table(DataPart::Outputs, "result", outputs.into_json());
    }

    /// One entry of metadata.
    pub fn metadata(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Metadata, key.as_ref(), value.into_json());
    }

    /// One metric, such as `input_tokens`.
    pub fn metric(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Metrics, key.as_ref(), value.into_json());
    }

    /// One entry of feedback, such as a rating by the user.
    pub fn feedback(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Feedback, key.as_ref(), value.into_json());
    }

    /// One entry of configuration, such as `model` or `temperature`.
    pub fn config(&self, key: impl AsRef<str>, value: impl IntoJson) {
        self.record_entry(DataPart::Config, key.as_ref(), value.into_json());
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.cx.span().set_attribute(KeyValue::new(key, value));
    }

    /// Sets several attributes.
    pub fn set_attributes(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        // The caller's iterator runs before the span is locked, not while it is.
        let attributes: Vec<KeyValue> = attributes.into_iter().collect();
        self.cx.span().set_attributes(attributes);
    }

    /// Adds an event at this moment.
    pub fn add_event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        self.cx.span().add_event_with_timestamp(name, NOW, attributes);
    }

    /// Adds an error as an event, sets the status to error, and sets `error.type`.
    ///
    /// The type is the Rust type's name, such as `std::io::error::Error`, and `_OTHER` for a `dyn Error`. HoneyHive gets message and type in
    /// attributes of its own too.
    pub fn record_error<E: Error + ?Sized>(&self, error: &E) {
        let span = self.cx.span();
        if !span.is_recording() {
            return;
        }
        self.record_failure::<E>(shorten_text(&error.to_string()));
    }

    /// Records an error by its message, which is within the bound of a text, and how many values that cost.
    pub(crate) fn record_failure<E: ?Sized>(&self, (message, cut): (String, u64)) {
        let span = self.cx.span();
        let error_type = type_of::<E>();
        let mut event = vec![KeyValue::new("exception.message", message.clone())];
        if error_type != OTHER_ERROR {
            event.push(KeyValue::new("exception.type", error_type));
        }
        span.add_event_with_timestamp("exception", NOW, event);
        span.set_attributes(self.spelling().error(&message, error_type));
        span.set_status(Status::error(message));
        self.note_cut(cut);
    }

    /// Sets the status.
    pub fn set_status(&self, status: Status) {
        self.cx.span().set_status(status);
    }

    /// Its trace id, span id and flags.
    pub fn span_context(&self) -> SpanContext {
        self.cx.span().span_context().clone()
    }

    /// The context in which this span is current, to pass to OpenTelemetry's own functions.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// The same span, with another context in which it is current.
    #[cfg(feature = "tower")]
    pub(crate) fn in_context(&self, cx: Context) -> Self {
        Self::new(cx, Arc::clone(&self.lane))
    }

    pub(crate) fn end(&self) {
        self.cx.span().end_with_timestamp(NOW);
    }

    fn spelling(&self) -> &'static Spelling {
        self.lane.destination.spelling
    }

    fn record_entry(&self, part: DataPart, key: &str, value: Json) {
        self.record(part, [(key, &value)]);
        take_apart(value);
    }

    fn record_table(&self, part: DataPart, key_of_others: &str, value: Json) {
        match &value {
            Json::Object(entries) => self.record(part, entries.iter().map(|(key, value)| (key.as_str(), value))),
            other => self.record(part, [(key_of_others, other)]),
        }
        take_apart(value);
    }

    fn record<'a>(&self, part: DataPart, entries: impl IntoIterator<Item = (&'a str, &'a Json)>) {
        let span = self.cx.span();
        if span.is_recording() {
            let spelled = self.spelling().span_data(part, entries);
            span.set_attributes(spelled.attributes);
            self.note_cut(spelled.cut);
        }
    }

    /// Records data that was bounded already, and how many values that cost. A value other than a table is the one entry `result`.
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
        // The span takes the count when it ends. If it ended on another thread just before, it does not.
        if !span.is_recording() {
            self.lane.forget_cut(id);
        }
    }
}

/// The type's name, without the references to it.
pub(crate) fn type_of<E: ?Sized>() -> &'static str {
    let name = std::any::type_name::<E>().trim_start_matches('&');
    if name.contains("dyn ") { OTHER_ERROR } else { name }
}

impl fmt::Debug for ActiveSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActiveSpan({})", self.cx.span().span_context().span_id())
    }
}
