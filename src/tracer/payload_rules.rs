//! What a binding lets pass of the spans that clients encoded.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

use crate::config::ResolvedBinding;

/// Sampling and limits of encoded spans.
pub(crate) struct PayloadRules {
    /// `None` if all traces are recorded.
    sampler: Option<Sampler>,
    /// Maximum bytes of a span.
    pub(crate) span_bytes: Option<usize>,
    /// Maximum bytes of a request.
    pub(crate) request_bytes: Option<usize>,
}

impl PayloadRules {
    pub(super) fn new(binding: &ResolvedBinding) -> Self {
        let ratio = binding.sampling.ratio;
        Self {
            sampler: (ratio < 1.0).then_some(Sampler::TraceIdRatioBased(ratio)),
            span_bytes: binding.limits.span_bytes,
            request_bytes: binding.limits.request_bytes,
        }
    }

    /// Returns whether some spans may be left out.
    pub(crate) fn may_leave_out(&self) -> bool {
        self.sampler.is_some() || self.span_bytes.is_some()
    }

    /// Decides as the SDK does for a root span of this trace.
    pub(crate) fn is_sampled(&self, trace_id: [u8; 16]) -> bool {
        self.sampler.as_ref().is_none_or(|sampler| {
            let trace_id = TraceId::from_bytes(trace_id);
            let result = sampler.should_sample(None, trace_id, "", &SpanKind::Internal, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        })
    }
}
