//! The SDK's side of a lane. The only place that implements its `SpanProcessor`, whose signature is about to change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::lane::Lane;

/// Puts the spans of one provider into one lane.
pub(crate) struct LaneProcessor(pub(crate) Arc<Lane>);

impl SpanProcessor for LaneProcessor {
    /// All that is decided at a span's start is decided before the SDK makes it. Each span that comes here comes to `on_end` once: it keeps the
    /// provider, which so is not shut down before.
    fn on_start(&self, _span: &mut Span, _context: &Context) {
        self.0.note_started();
    }

    #[inline]
    fn on_end(&self, span: SpanData) {
        self.0.push(span);
        self.0.note_ended();
    }

    /// Nothing waits in here; the registry's flush is the one that reports.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The SDK calls this when the last span and the last handle of the provider are gone, on the thread where that happens: it
    /// must not wait.
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
