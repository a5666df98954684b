//! A call's span from its start to its end, and the context in which the function runs meanwhile.
//!
//! | state | becomes |
//! |---|---|
//! | `Planned` | `Open`, `Closed` or `Nothing` at the first poll |
//! | `Open` | `Nothing` when the work is gone, `Closed` after its last item |
//! | `Closed`, `Nothing` | |

use std::thread;

use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt};
use serde_json::Value as Json;

use super::call::{Call, TracerChoice};
use super::capture::Capture;
use super::counts::note_unrouted;
use super::outcome::Recorder;
use crate::backend::{DataPart, flatten};
use crate::context::{self, ScopeGuard};
use crate::span::ActiveSpan;
use crate::tracer::{OpenSpan, TracerHandle};

/// Attribute of a future that was dropped before it was done.
const CANCELLED: &str = "tracer_registry.cancelled";

/// A call's span: planned, open, closed, or none.
pub struct Life {
    state: State,
    panicked: bool,
}

enum State {
    /// The first poll starts it.
    Planned(Box<Plan>),
    Open(OpenSpan),
    /// There is no span, or it is over. What is left of the work runs in this context.
    Closed(Context),
    /// There is no span, and the work runs in the caller's context.
    Nothing,
}

struct Plan {
    call: Call,
    called_in: Context,
    inputs: Capture,
    fields: Capture,
}

/// Begins a call.
pub fn begin(call: impl FnOnce() -> Call) -> Life {
    Life::of(start(call(), &context::current()))
}

/// Begins a call whose span starts when its future or stream is polled for the first time. If its tracer cannot be resolved, it is hidden from
/// the call on.
pub fn plan(call: impl FnOnce() -> Call) -> Life {
    let (call, called_in) = (call(), context::current());
    if let TracerChoice::Failed = call.tracer {
        return Life::of(start(call, &called_in));
    }
    Life::of(State::Planned(Box::new(Plan {
        call,
        called_in,
        inputs: Capture::default(),
        fields: Capture::default(),
    })))
}

/// Starts a call's span in a context, if it has a tracer.
fn start(call: Call, from: &Context) -> State {
    let tracer = match call.tracer {
        // In no scope: a function further in that names no tracer would otherwise be traced into the caller's project, or the default's.
        TracerChoice::Failed => return State::Closed(context::untraced(from)),
        TracerChoice::Named(tracer) => tracer,
        TracerChoice::OfScope => {
            let of_session = call.session.as_ref().map(|session| session.tracer().clone());
            let Some(tracer) = of_session.or_else(|| of_scope(from)) else {
                if !from.is_telemetry_suppressed() {
                    note_unrouted();
                }
                return State::Nothing;
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

impl Life {
    fn of(state: State) -> Self {
        Self { state, panicked: false }
    }

    /// Captures the arguments, if the span is recorded.
    pub fn inputs(&mut self, record: impl FnOnce(&mut Capture)) {
        self.capture(record, |plan| &mut plan.inputs, record_inputs);
    }

    /// Captures attributes, if the span is recorded.
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

    /// Records the outcome of the call, if the span is recorded. Called in the call's context.
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
            && let State::Planned(plan) = std::mem::replace(&mut self.state, State::Nothing)
        {
            self.start(*plan);
        }
        self.attach()
    }

    /// Makes the call's context current, if it has one.
    pub(super) fn attach(&self) -> Option<ScopeGuard> {
        match &self.state {
            State::Open(open) => Some(context::attach(open.span.context())),
            State::Closed(cx) => Some(context::attach(cx)),
            State::Planned(_) | State::Nothing => None,
        }
    }

    fn start(&mut self, plan: Plan) {
        self.state = start(plan.call, &context::current_or(plan.called_in));
        if let State::Open(open) = &self.state {
            record_inputs(&open.span, plan.inputs);
            record_fields(&open.span, plan.fields);
        }
    }

    /// Runs a part of the work in the call's context. Records a panic in it, which goes on.
    pub(super) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        self.watch(work)
    }

    /// Runs a part of the work in the call's context, which is current. Records a panic in it, which goes on.
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _watch = Watch {
            life: self,
            was_panicking: thread::panicking(),
        };
        work()
    }

    /// Runs what a function does at the call to make its future or stream: outside the span, and hidden if the call is.
    pub(super) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.attach();
        make()
    }

    /// Ends the span, after the work is gone.
    pub(super) fn end(&mut self) {
        self.state = State::Nothing;
    }

    /// Ends the span while the work is still there. What the work does later, when it is polled again or dropped, must not run in the
    /// caller's scope.
    pub(super) fn end_span(&mut self) {
        if let State::Open(open) = &self.state {
            self.state = State::Closed(open.span.context().clone());
        }
    }

    /// Records that the work is dropped before it was done.
    pub(super) fn note_cancelled(&self) {
        if let (State::Open(open), false) = (&self.state, self.panicked) {
            open.span.set_attribute(CANCELLED, true);
        }
    }

    /// Records a panic that began after `was_panicking` was read. A function may also run, and return, while another panic goes on.
    pub(super) fn note_if_panicked(&mut self, was_panicking: bool) {
        if was_panicking || !thread::panicking() {
            return;
        }
        self.panicked = true;
        if let State::Open(open) = &self.state {
            open.span.set_status(Status::error("panicked"));
        }
    }
}

/// Records a panic that passes.
struct Watch<'a> {
    life: &'a mut Life,
    was_panicking: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.life.note_if_panicked(self.was_panicking);
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
