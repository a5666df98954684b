//! Tracers of either side, made to the same plan.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::control::Ports;

/// One in so many tracers sends to where nobody answers, if any do.
const ONE_IN: usize = 10;

/// Whose tracers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Ours,
    /// The SDK's `BatchSpanProcessor`, a provider per tracer.
    Stock,
    /// A provider without a processor.
    Bare,
}

/// How many tracers, and how they are set up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) tracers: usize,
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) ports: Ports,
    pub(crate) holes: Holes,
}

/// Whether a tenth of the tracers sends to where nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Holes {
    None,
    ATenth,
}

/// Tracers, and what they send with.
pub(crate) trait Fleet: Sized {
    type Tracer: Tracer + Send + Sync;

    fn make(plan: &Plan) -> Result<Self>;

    fn tracers(&self) -> &[Self::Tracer];

    /// Sends everything, and waits for it.
    fn flush(&self);
}

impl Plan {
    /// Sending as OpenTelemetry's defaults have it, but for the delay, and but for a lone tracer's queue: all the load is on that one.
    pub(crate) fn sending(tracers: usize, ports: Ports) -> Self {
        Self {
            tracers,
            queue: if tracers == 1 { 8192 } else { 2048 },
            batch: 512,
            delay: Duration::from_secs(1),
            ports,
            holes: Holes::None,
        }
    }

    /// Whether the tracer at this place sends to where nobody answers.
    pub(crate) fn is_hole(&self, at: usize) -> bool {
        self.holes == Holes::ATenth && at.is_multiple_of(ONE_IN)
    }

    pub(crate) fn url_of(&self, at: usize) -> String {
        if self.is_hole(at) {
            self.ports.hole_url()
        } else {
            self.ports.url()
        }
    }
}

/// Starts and ends a span with four attributes.
pub(crate) fn span(tracer: &impl Tracer) {
    let attributes = vec![
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.request.model", "a-model"),
        KeyValue::new("gen_ai.usage.input_tokens", 120),
        KeyValue::new("retry", false),
    ];
    tracer
        .span_builder("answer")
        .with_attributes(attributes)
        .start(tracer)
        .end();
}
