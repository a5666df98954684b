//! The SDK's `SpanProcessor` for a lane: the only implementation, because the trait's signature is
//! about to change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::Span as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::lane::Lane;

/// Queues the spans of one provider in one lane.
pub(crate) struct LaneProcessor {
    lane: Arc<Lane>,
    _open: Arc<OpenLane>,
}

/// Retires the lane when it is dropped, with the tracer and its last provider. A provider lives as
/// long as its spans.
pub(crate) struct OpenLane(pub(crate) Arc<Lane>);

impl LaneProcessor {
    pub(crate) fn new(open: &Arc<OpenLane>) -> Self {
        Self {
            lane: Arc::clone(&open.0),
            _open: Arc::clone(open),
        }
    }
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        self.0.retire();
    }
}

impl SpanProcessor for LaneProcessor {
    /// Only counts the span: everything else is decided before the SDK creates it. Each started
    /// span reaches `on_end` once, because it keeps the provider alive.
    ///
    /// A span that is recorded for a copy alone is not the lane's.
    fn on_start(&self, span: &mut Span, _context: &Context) {
        if span.span_context().is_sampled() {
            self.lane.note_started();
        }
    }

    #[inline]
    fn on_end(&self, span: SpanData) {
        self.lane.push(span);
    }

    /// Does nothing: the processor buffers no spans. Use the registry's flush.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Does nothing: dropping the processor retires the lane.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl fmt::Debug for LaneProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneProcessor({})", self.lane.selector)
    }
}
