//! The span of a call, and the context in which the function runs.
//!
//! | state | next |
//! |---|---|
//! | `Planned` | `Open`, `Closed` or `Inactive` at the first poll |
//! | `Open` | `Inactive` once the work is dropped, `Closed` after its last item |
//! | `Closed`, `Inactive` | none |

use std::thread;

use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt};
use serde_json::Value as Json;

use super::call::{Call, TracerChoice};
use super::capture::Capture;
use super::counts::count_unrouted;
use super::outcome::Recorder;
use crate::backend::{DataPart, flatten};
use crate::context::{self, ScopeGuard};
use crate::span::ActiveSpan;
use crate::tracer::{OpenSpan, TracerHandle};

/// Attribute of the span of a future that was dropped before completion.
const CANCELLED: &str = "tracer_registry.cancelled";

/// The span of a call: planned, open, closed or none.
pub struct CallSpan {
    state: State,
    panicked: bool,
}

enum State {
    /// The first poll starts the span.
    Planned(Box<Plan>),
    Open(OpenSpan),
    /// No span, or an ended one. The rest of the work runs in this context.
    Closed(Context),
    /// No span. The work runs in the caller's context.
    Inactive,
}

struct Plan {
    call: Call,
    caller_context: Context,
    inputs: Capture,
    fields: Capture,
}

/// Starts the span of a call.
pub fn begin(call: impl FnOnce() -> Call) -> CallSpan {
    CallSpan::new(start(call(), &context::current()))
}

/// Plans the span of a call. The first poll of its future or stream starts it. If the tracer cannot
/// be resolved, the whole call runs outside any scope.
pub fn plan(call: impl FnOnce() -> Call) -> CallSpan {
    let (call, caller_context) = (call(), context::current());
    if let TracerChoice::Failed = call.tracer {
        return CallSpan::new(start(call, &caller_context));
    }
    CallSpan::new(State::Planned(Box::new(Plan {
        call,
        caller_context,
        inputs: Capture::default(),
        fields: Capture::default(),
    })))
}

/// Starts the span of a call in a context, if the call has a tracer.
fn start(call: Call, from: &Context) -> State {
    let tracer = match call.tracer {
        // Untraced: callees without a named tracer must not trace into the caller's project or the
        // default's.
        TracerChoice::Failed => return State::Closed(context::untraced(from)),
        TracerChoice::Named(tracer) => tracer,
        TracerChoice::FromScope => {
            let of_session = call.session.as_ref().map(|session| session.tracer().clone());
            let Some(tracer) = of_session.or_else(|| of_scope(from)) else {
                if !from.is_telemetry_suppressed() {
                    count_unrouted();
                }
                return State::Inactive;
            };
            tracer
        }
    };
    let builder = SpanBuilder::from_name(call.name);
    // A session of another tracer is ignored.
    let session = call.session.filter(|session| session.tracer().same_tracer(&tracer));
    let open = match session {
        Some(session) => tracer.open(builder, &session.context(from)),
        None => tracer.open(builder, from),
    };
    if let Some(event_type) = call.event_type {
        open.span.event_type(event_type);
    }
    State::Open(open)
}

fn of_scope(from: &Context) -> Option<TracerHandle> {
    context::scope_of(from).and_then(|(owner, _)| TracerHandle::of_scope(owner))
}

impl CallSpan {
    fn new(state: State) -> Self {
        Self { state, panicked: false }
    }

    /// Captures the arguments, if the span is recorded.
    pub fn inputs(&mut self, record: impl FnOnce(&mut Capture)) {
        self.capture(record, |plan| &mut plan.inputs, record_inputs);
    }

    /// Captures the fields, if the span is recorded.
    pub fn fields(&mut self, record: impl FnOnce(&mut Capture)) {
        self.capture(record, |plan| &mut plan.fields, record_fields);
    }

    fn capture(
        &mut self,
        record: impl FnOnce(&mut Capture),
        planned: impl FnOnce(&mut Plan) -> &mut Capture,
        to_span: impl FnOnce(&ActiveSpan, Capture),
    ) {
        let _entered = self.attach();
        match &mut self.state {
            State::Planned(plan) => record(planned(plan)),
            State::Open(open) if is_recording(&open.span) => {
                let mut capture = Capture::default();
                record(&mut capture);
                to_span(&open.span, capture);
            }
            _ => {}
        }
    }

    /// Records the outcome of the call, if the span is recorded. Call it in the call's context.
    pub fn outcome(&self, record: impl FnOnce(&mut Recorder<'_>)) {
        if let State::Open(open) = &self.state
            && is_recording(&open.span)
        {
            let mut recorder = Recorder::new(&open.span);
            record(&mut recorder);
            recorder.end();
        }
    }

    /// Makes the call's context current, and starts its span if it is planned.
    pub(super) fn enter(&mut self) -> Option<ScopeGuard> {
        if let State::Planned(_) = &self.state
            && let State::Planned(plan) = std::mem::replace(&mut self.state, State::Inactive)
        {
            self.start(*plan);
        }
        self.attach()
    }

    /// Makes the call's context current, if any.
    pub(super) fn attach(&self) -> Option<ScopeGuard> {
        match &self.state {
            State::Open(open) => Some(context::attach(open.span.context())),
            State::Closed(cx) => Some(context::attach(cx)),
            State::Planned(_) | State::Inactive => None,
        }
    }

    fn start(&mut self, plan: Plan) {
        self.state = start(plan.call, &context::current_or(plan.caller_context));
        if let State::Open(open) = &self.state {
            record_inputs(&open.span, plan.inputs);
            record_fields(&open.span, plan.fields);
        }
    }

    /// Runs a part of the work in the call's context. Records a panic and lets it continue.
    pub(super) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        self.watch(work)
    }

    /// As [`run`](Self::run), if the call's context is already current.
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _watch = Watch {
            span: self,
            was_panicking: thread::panicking(),
        };
        work()
    }

    /// Runs the function that returns a future or stream: before the span starts, but outside any
    /// scope if the tracer cannot be resolved.
    pub(super) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.attach();
        make()
    }

    /// Ends the span after the work was dropped.
    pub(super) fn end(&mut self) {
        self.state = State::Inactive;
    }

    /// Ends the span before the work is dropped. Later polls and the drop keep the call's scope.
    pub(super) fn end_span(&mut self) {
        if let State::Open(open) = &self.state {
            self.state = State::Closed(open.span.context().clone());
        }
    }

    /// Records that the work is dropped before completion.
    pub(super) fn record_cancelled(&self) {
        if let (State::Open(open), false) = (&self.state, self.panicked) {
            open.span.set_attribute(CANCELLED, true);
        }
    }

    /// Records a panic that began after `was_panicking` was read. A function may also run and
    /// return while another panic unwinds.
    pub(super) fn record_panic(&mut self, was_panicking: bool) {
        if was_panicking || !thread::panicking() {
            return;
        }
        self.panicked = true;
        if let State::Open(open) = &self.state {
            open.span.set_status(Status::error("panicked"));
        }
    }
}

/// Records a panic that unwinds through it.
struct Watch<'a> {
    span: &'a mut CallSpan,
    was_panicking: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.span.record_panic(self.was_panicking);
    }
}

fn is_recording(span: &ActiveSpan) -> bool {
    span.context().span().is_recording()
}

fn record_inputs(span: &ActiveSpan, inputs: Capture) {
    if let Some((entries, cut)) = inputs.into_entries() {
        span.record_captured(DataPart::Inputs, Json::Object(entries), cut);
    }
}

fn record_fields(span: &ActiveSpan, fields: Capture) {
    if let Some((entries, cut)) = fields.into_entries() {
        let mut attributes = Vec::new();
        let left_out = flatten("", &Json::Object(entries), &mut attributes);
        span.set_attributes(attributes);
        span.note_cut(cut + left_out);
    }
}
