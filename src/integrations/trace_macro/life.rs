//! A call's span from its start to its end, and the context in which the function runs meanwhile.

use std::thread;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};
use serde_json::Value as Json;

use super::call::Call;
use super::capture::Capture;
use super::outcome::Told;
use crate::backend::{DataPart, flatten};
use crate::context::{self, ScopeGuard};
use crate::span::ActiveSpan;
use crate::tracer::Open;

/// Of a future that was dropped before it was done.
const CANCELLED: &str = "tracer_registry.cancelled";

/// A call's span, planned, open, over, or none.
pub struct Life {
    pub(super) state: State,
    panicked: bool,
}

pub(super) enum State {
    /// To be started by the first poll.
    Planned(Box<Plan>),
    Open(Open),
    /// There is no span, and what was current must not be.
    Hidden(Context),
    /// The span is over, and what is left of the work still runs where it ran.
    Over(Context),
    /// There is no span, or none any more.
    Nothing,
}

pub(super) struct Plan {
    call: Call,
    called_in: Context,
    inputs: Capture,
    fields: Capture,
}

/// Begins a call.
pub fn begin(call: impl FnOnce() -> Call) -> Life {
    Life::of(call().start(&context::current()))
}

/// Begins a call whose span starts when its future or stream is polled for the first time. One that has no tracer though one was named is hidden
/// from the call on.
pub fn plan(call: impl FnOnce() -> Call) -> Life {
    let (call, called_in) = (call(), context::current());
    if call.has_failed() {
        return Life::of(call.start(&called_in));
    }
    Life::of(State::Planned(Box::new(Plan {
        call,
        called_in,
        inputs: Capture::default(),
        fields: Capture::default(),
    })))
}

impl Life {
    fn of(state: State) -> Self {
        Self { state, panicked: false }
    }

    /// Tells the arguments, where anybody will see them.
    pub fn inputs(&mut self, tell: impl FnOnce(&mut Capture)) {
        let _entered = self.attach();
        match &mut self.state {
            State::Planned(plan) => tell(&mut plan.inputs),
            State::Open(open) if is_recording(&open.span) => {
                let mut inputs = Capture::default();
                tell(&mut inputs);
                tell_inputs(&open.span, inputs);
            }
            _ => {}
        }
    }

    /// Tells attributes, where anybody will see them.
    pub fn fields(&mut self, tell: impl FnOnce(&mut Capture)) {
        let _entered = self.attach();
        match &mut self.state {
            State::Planned(plan) => tell(&mut plan.fields),
            State::Open(open) if is_recording(&open.span) => {
                let mut fields = Capture::default();
                tell(&mut fields);
                tell_fields(&open.span, fields);
            }
            _ => {}
        }
    }

    /// Tells how the call came out, where anybody will see it. In the call's context, which is current.
    pub fn outcome(&self, tell: impl FnOnce(&mut Told<'_>)) {
        if let State::Open(open) = &self.state
            && is_recording(&open.span)
        {
            let mut told = Told::new(&open.span);
            tell(&mut told);
            told.end();
        }
    }

    /// Makes the call's context current, and starts its span if that was to be done now.
    pub(super) fn enter(&mut self) -> Option<ScopeGuard> {
        if let State::Planned(_) = &self.state
            && let State::Planned(plan) = std::mem::replace(&mut self.state, State::Nothing)
        {
            self.start(*plan);
        }
        self.attach()
    }

    /// Makes the call's context current, where it has one.
    pub(super) fn attach(&self) -> Option<ScopeGuard> {
        match &self.state {
            State::Open(open) => Some(context::attach(open.span.context())),
            State::Hidden(cx) | State::Over(cx) => Some(context::attach(cx)),
            State::Planned(_) | State::Nothing => None,
        }
    }

    fn start(&mut self, plan: Plan) {
        self.state = plan.call.start(&context::current_or(plan.called_in));
        if let State::Open(open) = &self.state {
            tell_inputs(&open.span, plan.inputs);
            tell_fields(&open.span, plan.fields);
        }
    }

    /// Runs a part of the work in the call's context. A panic in it is told, and goes on.
    pub(super) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        self.watch(work)
    }

    /// Runs a part of the work in the call's context, which is current. A panic in it is told, and goes on.
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _watch = Watch::of(self);
        work()
    }

    /// Runs what a function does at the call to make its future or stream: not in the span, and hidden where the call is.
    pub(super) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.attach();
        make()
    }

    /// Ends the span, after the work is gone.
    pub(super) fn end(&mut self) {
        self.state = State::Nothing;
    }

    /// Ends the span of work that is still there: what it does when it is asked again, or dropped, is none of the caller's.
    pub(super) fn end_span(&mut self) {
        if let State::Open(open) = &self.state {
            self.state = State::Over(open.span.context().clone());
        }
    }

    /// The work is dropped before it was done.
    pub(super) fn note_cancelled(&self) {
        if let (State::Open(open), false) = (&self.state, self.panicked) {
            open.span.set_attribute(CANCELLED, true);
        }
    }

    pub(super) fn note_panicked(&mut self) {
        self.panicked = true;
        if let State::Open(open) = &self.state {
            open.span.set_status(Status::error("panicked"));
        }
    }
}

/// Tells a panic that goes through the place where it is.
pub(super) struct Watch<'a> {
    life: &'a mut Life,
    /// A function may be called, and come to its end, while a panic of somebody else goes on.
    was_panicking: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn of(life: &'a mut Life) -> Self {
        Self {
            life,
            was_panicking: thread::panicking(),
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.was_panicking && thread::panicking() {
            self.life.note_panicked();
        }
    }
}

fn is_recording(span: &ActiveSpan) -> bool {
    span.context().span().is_recording()
}

fn tell_inputs(span: &ActiveSpan, inputs: Capture) {
    if let Some((entries, cut)) = inputs.into_entries() {
        span.tell_captured(DataPart::Inputs, Json::Object(entries), cut);
    }
}

fn tell_fields(span: &ActiveSpan, fields: Capture) {
    if let Some((entries, cut)) = fields.into_entries() {
        let mut attributes = Vec::new();
        let left_out = flatten("", &Json::Object(entries), &mut attributes);
        span.set_attributes(attributes);
        span.note_cut(cut + left_out);
    }
}
