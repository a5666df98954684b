//! Operations with synchronous bodies.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use opentelemetry::trace::Span;

use super::super::program::{How, Kind, Op};
use super::super::subject::Subject;
use super::place::Place;
use super::state::{Told, told};

impl<S: Subject> Place<S> {
    pub(super) fn block(&self, block: &[Op]) {
        for op in block {
            self.op(op);
        }
    }

    pub(super) fn op(&self, op: &Op) {
        let subject = &*self.run.subject;
        match op.kind {
            Kind::Span {
                who,
                how: How::ByHand { ended_after },
            } => {
                let (cx, span) = self.by_hand(who, op);
                let _current = cx.attach();
                let inside = self.in_span_async(who, op, span.clone());
                let (before, after) = op.split(ended_after);
                inside.block(before);
                span.end();
                inside.block(after);
            }
            Kind::Span { who, how } => {
                subject.span_sync(how, &self.tracer(who, op.id), self.name(who, op), |span| {
                    self.in_span_async(who, op, span).block(&op.body);
                });
            }
            Kind::Unscoped { by_subscriber } => subject.unscoped(by_subscriber, || self.block(&op.body)),
            Kind::Loose { who, elsewhere } => {
                let span = self.loose(who, op);
                self.block(&op.body);
                end(span, elsewhere);
            }
            Kind::Scope { who } => {
                let _entered = subject.enter(&self.tracer(who, op.id));
                self.block(&op.body);
            }
            Kind::Session {
                who,
                given,
                current,
                end,
            } => {
                let session = self.session(who, op, given);
                let _entered = current.then(|| subject.enter_session(&session));
                let inside = self.in_session(op, who, session.clone());
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
            Kind::Baggage { who } => {
                let _attached = self.baggage(who, op).attach();
                self.block(&op.body);
            }
            Kind::Incoming { who, lie } => {
                let _entered = subject.enter_captured(&self.incoming(who, lie, op));
                self.block(&op.body);
            }
            Kind::Dedicated { member } => self.in_dedicated(op, member).block(&op.body),
            Kind::Panic { who } => told(catch_unwind(AssertUnwindSafe(|| {
                subject.span_sync(How::Closure, &self.tracer(who, op.id), self.name(who, op), |span| {
                    self.in_span_async(who, op, span).block(&op.body);
                    resume_unwind(Box::new(Told));
                });
            }))),
            Kind::Thread { carried, scoped } => self.on_thread(carried, scoped, op),
            Kind::Channel { worker, carried } => self.send(worker, carried, op),
            _ => self.leaf(op),
        }
    }

    fn on_thread(&self, carried: bool, scoped: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (place, block) = (self.clone(), Arc::clone(&op.body));
        let work = move || {
            let _entered = captured.map(|captured| place.run.subject.enter_captured(&captured));
            place.block(&block);
        };
        let ended = if scoped {
            thread::scope(|threads| threads.spawn(work).join())
        } else {
            thread::spawn(work).join()
        };
        ended.unwrap_or_else(|panicked| resume_unwind(panicked));
    }
}

/// Ends a span, perhaps on another thread.
pub(super) fn end(mut span: impl Span + Send + 'static, elsewhere: bool) {
    if elsewhere {
        let ended = thread::spawn(move || span.end()).join();
        ended.unwrap_or_else(|panicked| resume_unwind(panicked));
    } else {
        span.end();
    }
}
