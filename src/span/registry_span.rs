//! The span type of registry tracers.

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanContext, Status};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::util::wall_time::Moment;

/// Placeholder time of an end or event: now. OTLP cannot represent it as a time, so programs have
/// no other use for it.
pub(crate) const NOW: SystemTime = UNIX_EPOCH;

/// A span of one tracer, for OpenTelemetry's [`Span`] trait. Dropping it ends it unless it has
/// ended before.
///
/// The end, and events without an explicit time, are timed as the start plus monotonic elapsed
/// time. So a wall clock that is set back cannot end a span before it began. A time just read from
/// the wall clock, as OpenTelemetry's `SpanRef::end` and `SpanRef::add_event` do, is corrected by
/// the clock's step. Any other time is used unchanged.
pub struct RegistrySpan {
    sdk: SdkSpan,
    /// Start time; time of creation if the builder set an explicit start.
    began: Moment,
}

impl RegistrySpan {
    pub(crate) fn new(sdk: SdkSpan, began: Moment) -> Self {
        Self { sdk, began }
    }

    fn time(&self, given: SystemTime) -> SystemTime {
        if given == NOW {
            self.began.current_time()
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
