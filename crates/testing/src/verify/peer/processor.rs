//! Span processor that copies baggage onto spans.

use std::time::Duration;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::Span as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

/// Copies the baggage of the parent's context onto each span at its start.
#[derive(Debug)]
pub(super) struct CopyBaggage;

impl SpanProcessor for CopyBaggage {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        for (key, (value, _)) in cx.baggage() {
            span.set_attribute(KeyValue::new(key.clone(), value.to_string()));
        }
    }

    fn on_end(&self, _span: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
