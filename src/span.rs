//! The span that a closure of `in_span` works on.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Context, Key, KeyValue, Value};

/// An open span, by reference: clones are the same span, on whatever thread, and what is set lands on it whichever span is current.
///
/// It ends when the function that made it returns, not when this is dropped; what is set after that is ignored.
#[derive(Clone)]
pub struct ActiveSpan {
    cx: Context,
}

impl ActiveSpan {
    pub(crate) fn new(cx: Context) -> Self {
        Self { cx }
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.cx.span().set_attribute(KeyValue::new(key, value));
    }

    /// Sets several attributes.
    pub fn set_attributes(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.cx.span().set_attributes(attributes);
    }

    /// Adds an event at this moment.
    pub fn add_event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        self.cx.span().add_event(name, attributes);
    }

    /// Adds an error as an event and sets the status to error.
    pub fn record_error(&self, error: &dyn Error) {
        let span = self.cx.span();
        span.record_error(error);
        span.set_status(Status::error(error.to_string()));
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

    pub(crate) fn end(&self) {
        self.cx.span().end();
    }
}

impl fmt::Debug for ActiveSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActiveSpan({})", self.cx.span().span_context().span_id())
    }
}
