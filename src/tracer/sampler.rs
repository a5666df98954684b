//! Which spans of the program are recorded.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::context::Identity;
use crate::export::{Copies, Lane};

/// The sampler of a provider.
pub(super) enum AnySampler {
    Own(Sampler),
    WithCopies(CopySampler),
}

/// Returns the sampler of a tracer with this ratio.
pub(super) fn sampler(ratio: f64, trust_remote_parent: bool, lane: &Lane) -> AnySampler {
    let root = match ratio {
        // Every parent is a sampled span of this tracer.
        1.0.. if !trust_remote_parent => return AnySampler::Own(Sampler::AlwaysOn),
        1.0.. => Sampler::AlwaysOn,
        ratio => Sampler::TraceIdRatioBased(ratio),
    };
    let own = Sampler::ParentBased(Box::new(root));
    match &lane.copies {
        // Without a ratio, the tracer records all that a target may want.
        Some(copies) if ratio < 1.0 => AnySampler::WithCopies(CopySampler {
            own,
            copies: Arc::clone(copies),
            identity: Arc::clone(&lane.identity),
        }),
        _ => AnySampler::Own(own),
    }
}

/// Samples for a tracer and its targets. A span is recorded if the ratio of any of them lets its
/// trace pass. The flag that is propagated is the decision of the tracer itself.
///
/// | parent | sampled | recorded for targets |
/// |---|---|---|
/// | none | by the tracer's ratio | by their ratios |
/// | sampled | yes | by their ratios |
/// | not sampled, in a trace that this selector began | no | by their ratios |
/// | not sampled, in another process's trace | no | no: the other process decided |
#[derive(Clone)]
pub(super) struct CopySampler {
    pub(super) own: Sampler,
    pub(super) copies: Arc<Copies<Lane>>,
    pub(super) identity: Arc<Identity>,
}

impl ShouldSample for CopySampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self
            .own
            .should_sample(parent_context, trace_id, name, span_kind, attributes, links);
        let is_left_out = result.decision == SamplingDecision::Drop;
        let has_parent = parent_context.is_some_and(TraceContextExt::has_active_span);
        if is_left_out && (!has_parent || self.identity.began(trace_id)) && self.is_wanted(trace_id) {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

impl CopySampler {
    /// Returns whether a target takes the trace.
    fn is_wanted(&self, trace_id: TraceId) -> bool {
        let mut targets = self.copies.targets().iter();
        targets.any(|target| {
            let tracer = target.tracer();
            tracer
                .as_deref()
                .is_some_and(|tracer| tracer.lane.policies.sampling.passes(trace_id))
        })
    }
}

impl fmt::Debug for CopySampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CopySampler").field(&self.own).finish()
    }
}
