//! Copies of a lane's spans in the lanes of other tracers.
//!
//! A copy is a span of its target: counted, limited, sampled and sent as the target's own spans
//! are. It keeps its ids, and the attributes that the source gave it. Links to spans that the
//! source may not link to were removed before.

#[cfg(feature = "encoded")]
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::Ordering;

use opentelemetry::trace::{SpanContext, TraceFlags, TraceId};
use opentelemetry_sdk::trace::SpanData;

use super::lane::Lane;
use crate::backend::{CUT_VALUES, cut_values};
use crate::export::accounting::lane_status::CopyStatus;
#[cfg(feature = "encoded")]
use crate::export::accounting::lane_status::RequestKind;
use crate::export::copies::Copies;
#[cfg(feature = "encoded")]
use crate::export::explain::counts::TraceKey;
use crate::export::explain::fate::Note;
#[cfg(feature = "encoded")]
use crate::ledger::DropReason;
#[cfg(feature = "encoded")]
use crate::selector::Slug;

impl Lane {
    /// Copies an ended span of the program. Returns whether the lane's own ratio takes it too.
    #[inline(never)]
    pub(super) fn copy_span(&self, copies: &Copies<Self>, span: &mut SpanData) -> bool {
        if copies.has_cut_values() {
            let state = self.state.lock_unless_forked();
            let cut = state.and_then(|mut state| {
                self.stripes.collect(&mut state);
                state.take_cut(span.span_context.span_id())
            });
            if let Some(cut) = cut {
                span.attributes.extend(cut_values(CUT_VALUES, cut));
            }
        }
        let trace_id = span.span_context.trace_id();
        let is_wanted = |lane: &Self| lane.policies.sampling.passes(trace_id);
        self.copy_to_targets(copies, span, is_wanted);
        span.span_context.is_sampled()
    }

    /// Copies a span to the targets that want it.
    pub(super) fn copy_to_targets(&self, copies: &Copies<Self>, span: &SpanData, is_wanted: impl Fn(&Self) -> bool) {
        for target in copies.targets() {
            let tracer = target.tracer();
            let Some(tracer) = tracer.as_deref() else {
                target.note_lost(1);
                continue;
            };
            if is_wanted(&tracer.lane) {
                let mut copy = span.clone();
                self.destination.finish_copy(&mut copy);
                copy.span_context = sampled(&span.span_context);
                tracer.lane.note_started();
                tracer.lane.queue(copy);
            } else {
                tracer.lane.note_sampled_out(span.span_context.trace_id());
            }
        }
    }

    /// Counts a started span that no ratio lets pass: of the lane and of its targets.
    pub(crate) fn note_unsampled(&self, trace_id: TraceId, is_recorded: bool) {
        self.note_sampled_out(trace_id);
        // A recorded span is copied, or counted, at its end.
        if let Some(copies) = self.copies.as_ref().filter(|_| !is_recorded) {
            for target in copies.targets() {
                if let Some(tracer) = target.tracer().as_deref() {
                    tracer.lane.note_sampled_out(trace_id);
                }
            }
        }
    }

    /// Counts copies of clients' spans as dropped. `traces` are the keys of their traces, as far as
    /// known.
    #[cfg(feature = "encoded")]
    pub(crate) fn refuse_copies(
        self: &Arc<Self>,
        spans: u64,
        traces: &[TraceKey],
        reason: DropReason,
        caller: Option<&Slug>,
    ) {
        if spans == 0 {
            return;
        }
        self.note_fates(traces, Note::Accepted(caller));
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        self.stripes.note_started(spans);
        state.ledger.refuse_all(spans, reason);
        drop(state);
        self.note_fates(traces, Note::Dropped(reason));
        self.log_refused(RequestKind::Spans, reason);
    }

    /// Returns the targets, and whether copies reach them.
    pub(super) fn copy_statuses(&self) -> Vec<CopyStatus> {
        let targets = self.copies.iter().flat_map(|copies| copies.all_targets());
        let statuses = targets.map(|target| CopyStatus {
            selector: target.selector.clone(),
            works: target.works(),
        });
        statuses.collect()
    }

    /// Counts a started span that the lane's ratio leaves out.
    fn note_sampled_out(&self, trace_id: TraceId) {
        #[cfg(feature = "metrics")]
        self.left_out.fetch_add(1, Ordering::Relaxed);
        self.note_fate(trace_id, Note::SampledOut(None));
    }
}

/// Returns a context with the flag that the target's own sampled spans have.
fn sampled(context: &SpanContext) -> SpanContext {
    if context.is_sampled() {
        return context.clone();
    }
    SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags() | TraceFlags::SAMPLED,
        context.is_remote(),
        context.trace_state().clone(),
    )
}
