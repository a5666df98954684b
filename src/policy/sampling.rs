//! Which traces a tracer takes, by trace id.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

/// The ratio of a tracer. All spans of a trace get the same decision. A trace that one ratio lets
/// pass also passes each higher one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampling {
    /// `None` if all traces pass.
    sampler: Option<Sampler>,
}

impl Sampling {
    pub(crate) fn new(ratio: f64) -> Self {
        Self {
            sampler: (ratio < 1.0).then_some(Sampler::TraceIdRatioBased(ratio)),
        }
    }

    /// Returns whether all traces pass.
    #[cfg(feature = "gateway")]
    pub(crate) fn is_all(&self) -> bool {
        self.sampler.is_none()
    }

    /// Decides as the SDK does for a root span of this trace.
    pub(crate) fn passes(&self, trace_id: TraceId) -> bool {
        self.sampler.as_ref().is_none_or(|sampler| {
            let result = sampler.should_sample(None, trace_id, "", &SpanKind::Internal, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        })
    }
}
