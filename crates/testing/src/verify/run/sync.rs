//! Operations with synchronous bodies.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use opentelemetry::trace::Span;

use super::super::program::operation::{How, Kind, Op};
use super::super::subject::Subject;
use super::interpreter::Interpreter;

impl<S: Subject> Interpreter<S> {
    pub(super) fn block(&self, block: &[Op]) {
        for op in block {
            self.op(op);
        }
    }

    pub(super) fn op(&self, op: &Op) {
        let subject = &*self.run.subject;
        match op.kind {
            Kind::Span {
                target,
                how: How::ByHand { ended_after },
            } => {
                let (cx, span) = self.by_hand(target, op);
                let _current = cx.attach();
                let inside = self.in_span(target, op, span.clone());
                let (before, after) = op.split(ended_after);
                inside.block(before);
                span.end();
                inside.block(after);
            }
            Kind::Span { target, how } => {
                subject.span_sync(how, &self.tracer(target, op.id), self.name(target, op), |span| {
                    self.in_span(target, op, span).block(&op.body);
                });
            }
            Kind::Unscoped { by_subscriber } => subject.unscoped(by_subscriber, || self.block(&op.body)),
            Kind::Loose { target, elsewhere } => {
                let span = self.loose(target, op);
                self.block(&op.body);
                end(span, elsewhere);
            }
            Kind::Scope { target } => {
                let _entered = subject.enter(&self.tracer(target, op.id));
                self.block(&op.body);
            }
            Kind::Session {
                target,
                given,
                current,
                end,
            } => {
                let session = self.session(target, op, given);
                let _entered = current.then(|| subject.enter_session(&session));
                let inside = self.in_session(op, target, session.clone());
                let (before, after) = op.split(end.unwrap_or(usize::MAX));
                inside.block(before);
                if end.is_some() {
                    subject.end_session(&session);
                }
                inside.block(after);
            }
            Kind::Rejoin { session } => {
                let session = self.session_in_reach(session);
                let _entered = session.map(|session| subject.enter_session(&session));
                self.block(&op.body);
            }
            Kind::Baggage { target } => {
                let _attached = self.baggage(target, op).attach();
                self.block(&op.body);
            }
            Kind::Incoming { target, forgery } => {
                let _entered = subject.enter_captured(&self.incoming(target, forgery, op));
                self.block(&op.body);
            }
            Kind::Dedicated { member } => self.in_dedicated(op, member).block(&op.body),
            Kind::Panic { target } => ended_as_planned(catch_unwind(AssertUnwindSafe(|| {
                subject.span_sync(
                    How::Closure,
                    &self.tracer(target, op.id),
                    self.name(target, op),
                    |span| {
                        self.in_span(target, op, span).block(&op.body);
                        resume_unwind(Box::new(PlannedPanic));
                    },
                );
            }))),
            Kind::Thread { carried, scoped } => self.on_thread(carried, scoped, op),
            Kind::Channel { worker, carried } => self.send(worker, carried, op),
            _ => self.leaf(op),
        }
    }

    fn on_thread(&self, carried: bool, scoped: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (interpreter, block) = (self.clone(), Arc::clone(&op.body));
        let work = move || {
            let _entered = captured.map(|captured| interpreter.run.subject.enter_captured(&captured));
            interpreter.block(&block);
        };
        let ended = if scoped {
            thread::scope(|threads| threads.spawn(work).join())
        } else {
            thread::spawn(work).join()
        };
        ended.unwrap_or_else(|panicked| resume_unwind(panicked));
    }
}

/// Ends a span; with `elsewhere`, on another thread.
pub(super) fn end(mut span: impl Span + Send + 'static, elsewhere: bool) {
    if elsewhere {
        let ended = thread::spawn(move || span.end()).join();
        ended.unwrap_or_else(|panicked| resume_unwind(panicked));
    } else {
        span.end();
    }
}

/// Payload of a planned panic. Raised with `resume_unwind`, because `panic!` would print it.
pub(super) struct PlannedPanic;

/// Ignores a planned panic and resumes any other.
pub(super) fn ended_as_planned(ended: thread::Result<()>) {
    match ended {
        Err(panicked) if !panicked.is::<PlannedPanic>() => resume_unwind(panicked),
        _ => {}
    }
}
