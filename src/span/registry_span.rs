//! The span that tracers of a registry start.

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanContext, Status};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::util::wall_time::Moment;

/// As the time of an end or an event: now. OTLP has no such time, so a program has no other use for it.
pub(crate) const NOW: SystemTime = UNIX_EPOCH;

/// A span of one tracer, as OpenTelemetry's [`Span`] trait has it. It ends when it is dropped, if it did not end before.
///
/// Its end, and events without a time of their own, are at its start plus the time that passed since, by a clock that is never set. So a wall
/// clock that is set back while the span is open does not end it before it began. A time that was read from the wall clock just before
/// (OpenTelemetry's `SpanRef::end` and `SpanRef::add_event` do so) is corrected by as much as the clock was set. Any other time stays as it is given.
pub struct RegistrySpan {
    sdk: SdkSpan,
    /// When it began; if its builder names another time of its start, when it was made.
    began: Moment,
}

impl RegistrySpan {
    pub(crate) fn new(sdk: SdkSpan, began: Moment) -> Self {
        Self { sdk, began }
    }

    fn time(&self, given: SystemTime) -> SystemTime {
        if given == NOW {
            self.began.later()
        } else {
            self.began.without_step(given)
        }
    }
}

impl Span for RegistrySpan {
    fn add_event<T: Into<Cow<'static, str>>>(&mut self, name: T, attributes: Vec<KeyValue>) {
        self.add_event_with_timestamp(name, NOW, attributes);
    }

    fn add_event_with_timestamp<T: Into<Cow<'static, str>>>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        if self.is_recording() {
            let time = self.time(timestamp);
            self.sdk.add_event_with_timestamp(name, time, attributes);
        }
    }

    fn span_context(&self) -> &SpanContext {
        self.sdk.span_context()
    }

    fn is_recording(&self) -> bool {
        self.sdk.is_recording()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.sdk.set_attribute(attribute);
    }

    fn set_attributes(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.sdk.set_attributes(attributes);
    }

    fn set_status(&mut self, status: Status) {
        self.sdk.set_status(status);
    }

    fn update_name<T: Into<Cow<'static, str>>>(&mut self, name: T) {
        self.sdk.update_name(name);
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        self.sdk.add_link(span_context, attributes);
    }

    fn end(&mut self) {
        self.end_with_timestamp(NOW);
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        if self.is_recording() {
            let time = self.time(timestamp);
            self.sdk.end_with_timestamp(time);
        }
    }
}

impl Drop for RegistrySpan {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for RegistrySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistrySpan({})", self.sdk.span_context().span_id())
    }
}
