//! What a binding lets pass of the spans that clients encoded.

use opentelemetry::trace::TraceId;

use crate::config::ResolvedBinding;
use crate::policy::Sampling;

/// Sampling and limits of encoded spans.
pub(crate) struct PayloadRules {
    sampling: Sampling,
    /// Maximum bytes of a span.
    pub(crate) span_bytes: Option<usize>,
    /// Maximum bytes of a request.
    pub(crate) request_bytes: Option<usize>,
}

impl PayloadRules {
    pub(super) fn new(binding: &ResolvedBinding) -> Self {
        Self {
            sampling: Sampling::new(binding.sampling.ratio),
            span_bytes: binding.limits.span_bytes,
            request_bytes: binding.limits.request_bytes,
        }
    }

    /// Returns whether some spans may be left out.
    pub(crate) fn may_leave_out(&self) -> bool {
        !self.sampling.is_all() || self.span_bytes.is_some()
    }

    /// Decides as the SDK does for a root span of this trace.
    pub(crate) fn is_sampled(&self, trace_id: [u8; 16]) -> bool {
        self.sampling.passes(TraceId::from_bytes(trace_id))
    }
}
