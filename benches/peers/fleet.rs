//! Sets of tracers of both sides, created to the same plan.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::control::Ports;

/// With black holes, one in this many tracers sends to one.
const ONE_IN: usize = 10;

/// The implementation that provides the tracers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Ours,
    /// The SDK's `BatchSpanProcessor`, one provider per tracer.
    Stock,
    /// A provider without a processor.
    Bare,
}

/// Number and settings of the tracers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) tracers: usize,
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) ports: Ports,
    pub(crate) black_holes: BlackHoles,
}

/// Whether a tenth of the tracers sends to a black hole, an endpoint that never answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlackHoles {
    None,
    ATenth,
}

/// A set of tracers with its exporter.
pub(crate) trait Fleet: Sized {
    type Tracer: Tracer + Send + Sync;

    fn make(plan: &Plan) -> Result<Self>;

    fn tracers(&self) -> &[Self::Tracer];

    /// Sends all spans and waits.
    fn flush(&self);
}

impl Plan {
    /// Exports with OpenTelemetry's defaults, except for the delay and the larger queue of a single
    /// tracer, which carries the whole load.
    pub(crate) fn sending(tracers: usize, ports: Ports) -> Self {
        Self {
            tracers,
            queue: if tracers == 1 { 8192 } else { 2048 },
            batch: 512,
            delay: Duration::from_secs(1),
            ports,
            black_holes: BlackHoles::None,
        }
    }

    /// Whether a tracer sends to a black hole.
    pub(crate) fn is_black_hole(&self, at: usize) -> bool {
        self.black_holes == BlackHoles::ATenth && at.is_multiple_of(ONE_IN)
    }

    pub(crate) fn url_of(&self, at: usize) -> String {
        if self.is_black_hole(at) {
            self.ports.black_hole_url()
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
