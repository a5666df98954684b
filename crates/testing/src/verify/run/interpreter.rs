//! State of a running operation, and the operations that are the same in both kinds of blocks.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{Span as _, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::super::headers;
use super::super::program::cast::planted;
use super::super::program::operation::{Forgery, Kind, Op, OpId, TracerRef};
use super::super::subject::{Active, PLANTED_KEY, Subject, given_id};
use super::state::{Root, Run, Wrong};
use crate::lock::lock;

pub(super) struct Interpreter<S: Subject> {
    pub(super) run: Arc<Run<S>>,
    pub(super) reach: Option<Arc<Reach<S>>>,
    pub(super) root: Arc<Root>,
}

/// A reachable handle, and the outer ones.
pub(super) struct Reach<S: Subject> {
    op: OpId,
    /// Member of the cast that owns the handle.
    member: usize,
    handle: Handle<S>,
    outer: Option<Arc<Reach<S>>>,
}

enum Handle<S: Subject> {
    Span(Active),
    Session(S::Session),
    Dedicated(S::Tracer, Option<usize>),
}

impl<S: Subject> Clone for Interpreter<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.run), self.reach.clone(), Arc::clone(&self.root))
    }
}

impl<S: Subject> Interpreter<S> {
    pub(super) fn new(run: Arc<Run<S>>, reach: Option<Arc<Reach<S>>>, root: Arc<Root>) -> Self {
        Self { run, reach, root }
    }

    /// Returns the tracer for an operation.
    pub(super) fn tracer(&self, target: TracerRef, op: OpId) -> S::Tracer {
        let dedicated = target.dedicated.and_then(|made| match self.find(made)?.handle {
            Handle::Dedicated(ref tracer, instance) => Some((tracer.clone(), instance)),
            _ => None,
        });
        let Some((tracer, instance)) = dedicated else {
            return self
                .run
                .found(self.run.subject.tracer(target.member), target.member, op)
                .0;
        };
        self.run.record_instance(op, instance);
        tracer
    }

    pub(super) fn name(&self, target: TracerRef, op: &Op) -> String {
        self.run.cast[target.member].canary(op.id)
    }

    /// Returns the state in the body of a span. Sets the attribute and the event that mark the
    /// span.
    pub(super) fn in_span(&self, target: TracerRef, op: &Op, span: Active) -> Self {
        span.set("work".to_owned(), self.name(target, op));
        span.plant(planted(&self.name(target, op)));
        if op.id.is_multiple_of(4) {
            span.event(self.name(target, op));
        }
        self.reaching(op, target, Handle::Span(span))
    }

    pub(super) fn in_dedicated(&self, op: &Op, member: usize) -> Self {
        let (tracer, instance) = self.run.found(self.run.subject.dedicated(member), member, op.id);
        self.reaching(op, TracerRef::pooled(member), Handle::Dedicated(tracer, instance))
    }

    pub(super) fn in_session(&self, op: &Op, target: TracerRef, session: S::Session) -> Self {
        self.reaching(op, target, Handle::Session(session))
    }

    fn reaching(&self, op: &Op, target: TracerRef, handle: Handle<S>) -> Self {
        let reach = Reach {
            op: op.id,
            member: target.member,
            handle,
            outer: self.reach.clone(),
        };
        Self::new(Arc::clone(&self.run), Some(Arc::new(reach)), Arc::clone(&self.root))
    }

    /// Returns the session that an enclosing operation started.
    pub(super) fn session_in_reach(&self, session: OpId) -> Option<S::Session> {
        match &self.find(session)?.handle {
            Handle::Session(session) => Some(session.clone()),
            _ => None,
        }
    }

    fn find(&self, op: OpId) -> Option<&Reach<S>> {
        let mut reaches = std::iter::successors(self.reach.as_deref(), |reach| reach.outer.as_deref());
        reaches.find(|reach| reach.op == op)
    }

    /// Starts a span to be made current by hand. Returns the context with it, and the span.
    pub(super) fn by_hand(&self, target: TracerRef, op: &Op) -> (Context, Active) {
        let span = self
            .run
            .subject
            .start(&self.tracer(target, op.id), self.name(target, op));
        let cx = current().with_span(span);
        (cx.clone(), Active::Context(cx))
    }

    pub(super) fn loose(&self, target: TracerRef, op: &Op) -> S::Span {
        self.loose_of(&self.tracer(target, op.id), target, op)
    }

    fn loose_of(&self, tracer: &S::Tracer, target: TracerRef, op: &Op) -> S::Span {
        let mut span = self.run.subject.start(tracer, self.name(target, op));
        span.set_attribute(KeyValue::new("work", self.name(target, op)));
        span.set_attribute(KeyValue::new(PLANTED_KEY, planted(&self.name(target, op))));
        span
    }

    pub(super) fn session(&self, target: TracerRef, op: &Op, given: bool) -> S::Session {
        let (subject, canary) = (&self.run.subject, self.name(target, op));
        let id = given.then(|| given_id(self.run.seed, op.id));
        let session = subject.session(&self.tracer(target, op.id), id, canary.clone(), canary);
        lock(&self.run.observed)
            .sessions
            .insert(op.id, subject.session_id(&session));
        session
    }

    /// Returns the current context with another baggage entry.
    pub(super) fn baggage(&self, target: TracerRef, op: &Op) -> Context {
        with_entry(KeyValue::new(baggage_key(op.id), self.name(target, op)))
    }

    /// Extracts forged headers. Returns the scope for the body.
    pub(super) fn incoming(&self, target: TracerRef, forgery: Forgery, op: &Op) -> S::Captured {
        let headers = self.incoming_headers(forgery, op);
        self.run.subject.extract(&self.tracer(target, op.id), &headers)
    }

    pub(super) fn incoming_headers(&self, forgery: Forgery, op: &Op) -> HashMap<String, String> {
        let headers = self.forged(forgery, op);
        lock(&self.run.observed).incoming.insert(op.id, headers.clone());
        headers
    }

    fn forged(&self, forgery: Forgery, op: &Op) -> HashMap<String, String> {
        let seed = self.run.seed;
        let mut forged = HashMap::new();
        let mut set = |name: &str, value: String| forged.insert(name.to_owned(), value);
        match forgery {
            Forgery::Parent => {
                set("traceparent", headers::unknown_parent(seed, op.id));
            }
            Forgery::ParentOf(span) => {
                if let Some(Handle::Span(span)) = self.find(span).map(|reach| &reach.handle) {
                    let (trace, span) = span.ids();
                    set("traceparent", headers::traceparent(&trace, &span));
                }
            }
            Forgery::Baggage(member) => {
                let canary = self.run.cast[member].canary(op.id);
                let session = headers::forged_session(seed, op.id);
                set("baggage", format!("{}={canary}{session}", baggage_key(op.id)));
            }
            Forgery::Session => {
                set("traceparent", headers::unknown_parent(seed, op.id));
                set(
                    "baggage",
                    format!("session.id={}", headers::unknown_session(seed, op.id)),
                );
            }
            Forgery::Garbage => {
                set("traceparent", headers::traceparent("no-trace", "no-span"));
                set("baggage", format!("session.id=unknown-{}", op.id));
            }
            Forgery::SessionOf(session) => {
                if let Some(Handle::Session(session)) = self.find(session).map(|reach| &reach.handle) {
                    set(
                        "baggage",
                        format!("session.id={}", self.run.subject.session_id(session)),
                    );
                }
            }
        }
        forged
    }

    /// Sends the body to a worker and waits until it is done.
    pub(super) fn send(&self, worker: usize, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (interpreter, block) = (self.clone(), Arc::clone(&op.body));
        let (done, wait) = mpsc::sync_channel::<()>(1);
        let job = Box::new(move || {
            let _entered = captured.map(|captured| interpreter.run.subject.enter_captured(&captured));
            interpreter.block(&block);
            drop(done);
        });
        if let Some(worker) = self.run.workers.get(worker)
            && worker.send(job).is_ok()
        {
            // The dropped sender is the signal.
            let _ended = wait.recv();
        }
    }

    /// Runs an operation without a body.
    pub(super) fn leaf(&self, op: &Op) {
        let (subject, cast) = (&self.run.subject, &self.run.cast);
        match op.kind {
            Kind::Enrich { session } => {
                if let Some(reach) = self.find(session)
                    && let Handle::Session(session) = &reach.handle
                {
                    subject.enrich(session, enriched_key(op.id), cast[reach.member].canary(op.id));
                }
            }
            Kind::Late { span } => {
                if let Some(reach) = self.find(span)
                    && let Handle::Span(span) = &reach.handle
                {
                    span.set(late_key(op.id), cast[reach.member].canary(op.id));
                }
            }
            Kind::Current { target } => {
                subject.set_on_current(
                    &self.tracer(target, op.id),
                    format!("current.{}", op.id),
                    self.name(target, op),
                );
            }
            Kind::Link { from, to, remote } => {
                if let (Some(Handle::Span(from)), Some(Handle::Span(to))) = (
                    self.find(from).map(|reach| &reach.handle),
                    self.find(to).map(|reach| &reach.handle),
                ) {
                    from.link(to, remote);
                }
            }
            Kind::Ask => {
                if let Some(current) = subject.current() {
                    lock(&self.run.observed).current.insert(op.id, current);
                }
            }
            Kind::Inject { target } => {
                let headers = subject.inject(&self.tracer(target, op.id), op.id.is_multiple_of(2));
                lock(&self.run.observed).headers.insert(op.id, headers);
            }
            Kind::Overfull { target } => {
                let (captured, tracer) = (subject.capture(), self.tracer(target, op.id));
                let overfull = || {
                    let _entered = subject.enter_captured(&captured);
                    subject.overfull(&tracer, || drop(self.loose(target, op)));
                };
                let ended = thread::scope(|threads| threads.spawn(overfull).join());
                ended.unwrap_or_else(|panicked| resume_unwind(panicked));
            }
            Kind::Event { target } => subject.event(self.name(target, op)),
            Kind::Misname { member, how } => {
                if let Some(wrong) = subject.misname(member, how) {
                    let (op, expected) = (op.id, "the right error");
                    lock(&self.run.observed).wrong.push(Wrong {
                        op,
                        member,
                        expected,
                        seen: wrong,
                    });
                }
            }
            Kind::Refused { member } => {
                let found = subject.refuse(member, |tracer| self.loose_of(tracer, TracerRef::pooled(member), op));
                self.run.found(found, member, op.id);
            }
            Kind::Disturb(disturbance) => {
                let wrong = subject.disturb(disturbance).map(|(member, wrong)| Wrong {
                    op: op.id,
                    member,
                    expected: "the documented behaviour",
                    seen: wrong,
                });
                lock(&self.run.observed).wrong.extend(wrong);
            }
            _ => {}
        }
    }
}

/// Returns the name of the attribute that an operation sets on an enclosing span.
pub(in super::super) fn late_key(op: OpId) -> String {
    format!("late.{op}")
}

/// Returns the name of the metadata entry that an enrichment sets.
fn enriched_key(op: OpId) -> String {
    format!("e{op}")
}

/// Returns the name of the baggage entry that an operation sets.
pub(in super::super) fn baggage_key(op: OpId) -> String {
    format!("b{op}")
}

/// Returns the current context with another baggage entry, by OpenTelemetry's API.
pub(in super::super) fn with_entry(entry: KeyValue) -> Context {
    let cx = current();
    let existing = cx.baggage().iter();
    let existing = existing.map(|(key, (value, _))| KeyValue::new(key.clone(), value.to_string()));
    let entries: Vec<KeyValue> = existing.chain([entry]).collect();
    cx.with_baggage(entries)
}

#[expect(clippy::disallowed_methods, reason = "as a third party would")]
pub(in super::super) fn current() -> Context {
    Context::current()
}
