//! Test fixtures of the export engine.

use std::borrow::Cow;
use std::time::UNIX_EPOCH;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
#[cfg(feature = "encoded")]
use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
#[cfg(feature = "encoded")]
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

#[cfg(feature = "encoded")]
use super::encode::otlp;
#[cfg(feature = "encoded")]
use super::payload::Payload;

/// Creates a span with a name and nothing else.
pub(crate) fn span(name: impl Into<Cow<'static, str>>) -> SpanData {
    SpanData {
        span_context: SpanContext::empty_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// Creates a payload with a span for each name. Each span has its own trace.
#[cfg(feature = "encoded")]
pub(crate) fn payload(names: &[String]) -> Payload {
    let spans: Vec<SpanData> = names
        .iter()
        .zip(1_u64..)
        .map(|(name, number)| SpanData {
            span_context: SpanContext::new(
                TraceId::from(u128::from(number)),
                SpanId::from(number),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            ..span(name.clone())
        })
        .collect();
    let spans: Vec<&SpanData> = spans.iter().collect();
    let bytes = otlp::request(&spans, &Resource::builder_empty().build());
    Payload::check(bytes).expect("a valid request")
}
