//! The SDK's `SpanProcessor` for a lane: the only implementation, because the trait's signature is
//! about to change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::lane::Lane;

/// Queues the spans of one provider in one lane.
pub(crate) struct LaneProcessor(pub(crate) Arc<Lane>);

impl SpanProcessor for LaneProcessor {
    /// Only counts the span: everything else is decided before the SDK creates it. Each started
    /// span reaches `on_end` once, because it keeps the provider alive.
    fn on_start(&self, _span: &mut Span, _context: &Context) {
        self.0.note_started();
    }

    #[inline]
    fn on_end(&self, span: SpanData) {
        self.0.push(span);
        self.0.note_ended();
    }

    /// Does nothing: the processor buffers no spans. Use the registry's flush.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Retires the lane. Must not block: the SDK calls it on the thread that drops the provider's
    /// last span or handle.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        self.0.retire();
        Ok(())
    }
}

impl fmt::Debug for LaneProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneProcessor({})", self.0.selector)
    }
}
