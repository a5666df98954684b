//! What a lane does to a span besides sending it: what was cut from it, and all that every span of the tracer has.

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;

use super::Lane;
use crate::faults::{Fault, planted};

impl Lane {
    /// Values of a span that is open were cut. Kept here and not on the span, whose attributes may be at their limit by now.
    pub(crate) fn note_cut(&self, span: SpanId, values: u64) {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        let cut = state.seldom().cut_values.entry(span).or_default();
        *cut = cut.saturating_add(values);
    }

    /// The span had ended when [`note_cut`](Self::note_cut) was called, and will not come for the count.
    pub(crate) fn forget_cut(&self, span: SpanId) {
        if let Some(mut state) = self.state.lock_unless_forked() {
            state.take_cut(span);
        }
    }

    /// Makes a span what is sent: with its session, its source and all that every span has, and without links to other tracers' spans. A link
    /// has their ids in it, and whoever made it may not have known whose they are.
    pub(crate) fn finish(&self, span: &mut SpanData) {
        let before = span.links.links.len();
        span.links
            .links
            .retain(|link| self.identity.may_link(&link.span_context) || planted(Fault::LinksKept));
        let foreign = before - span.links.links.len();
        if foreign > 0 {
            self.identity.boundary().note_foreign_links(foreign);
            let foreign = u32::try_from(foreign).unwrap_or(u32::MAX);
            span.links.dropped_count = span.links.dropped_count.saturating_add(foreign);
        }
        let own = &span.span_context;
        let is_of_trace = self.destination.session_per_trace && self.identity.marked(own.span_id());
        let session_of = is_of_trace.then(|| own.trace_id());
        self.destination.finish(span, session_of);
    }
}
