//! Which traces are recorded: a part of those that begin here, and of others what was decided where they began.

use std::sync::LazyLock;

use opentelemetry::trace::{Link, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

static ALL: LazyLock<Sampler> = LazyLock::new(|| Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));

/// One sampler for all tracers that leave nothing out, which most are. Has no value, so that its box has no memory.
#[derive(Clone, Debug)]
struct All;

impl ShouldSample for All {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        ALL.should_sample(parent, trace, name, kind, attributes, links)
    }
}

pub(super) fn sampler(ratio: f64) -> Box<dyn ShouldSample> {
    if ratio >= 1.0 {
        return Box::new(All);
    }
    Box::new(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
}
