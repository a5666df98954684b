//! Where an operation runs: what it has in its variables, and what both kinds of blocks do with it.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{Span as _, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::super::headers;
use super::super::program::{Kind, Lie, Op, OpId, Who};
use super::super::subject::{Active, Subject, given_id};
use super::state::{Root, Run, Wrong, lock};

pub(super) struct Place<S: Subject> {
    pub(super) run: Arc<Run<S>>,
    pub(super) reach: Option<Arc<Reach<S>>>,
    pub(super) root: Arc<Root>,
}

/// One handle in reach, and the ones further out.
pub(super) struct Reach<S: Subject> {
    op: OpId,
    /// The member of the cast that it is of.
    member: usize,
    handle: Handle<S>,
    outer: Option<Arc<Reach<S>>>,
}

enum Handle<S: Subject> {
    Span(Active),
    Session(S::Session),
    Dedicated(S::Tracer, Option<usize>),
}

impl<S: Subject> Clone for Place<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.run), self.reach.clone(), Arc::clone(&self.root))
    }
}

impl<S: Subject> Place<S> {
    pub(super) fn new(run: Arc<Run<S>>, reach: Option<Arc<Reach<S>>>, root: Arc<Root>) -> Self {
        Self { run, reach, root }
    }

    /// The tracer for an operation.
    pub(super) fn tracer(&self, who: Who, op: OpId) -> S::Tracer {
        let dedicated = who.dedicated.and_then(|made| match self.find(made)?.handle {
            Handle::Dedicated(ref tracer, instance) => Some((tracer.clone(), instance)),
            _ => None,
        });
        let Some((tracer, instance)) = dedicated else {
            return self.run.found(self.run.subject.tracer(who.member), who.member, op).0;
        };
        self.run.came_by(op, instance);
        tracer
    }

    pub(super) fn name(&self, who: Who, op: &Op) -> String {
        self.run.cast[who.member].canary(op.id)
    }

    /// The body of a span: what every span says of itself, and the span in reach.
    pub(super) fn in_span_async(&self, who: Who, op: &Op, span: Active) -> Self {
        span.set("work".to_owned(), self.name(who, op));
        if op.id.is_multiple_of(4) {
            span.event(self.name(who, op));
        }
        self.reaching(op, who, Handle::Span(span))
    }

    pub(super) fn in_dedicated(&self, op: &Op, member: usize) -> Self {
        let (tracer, instance) = self.run.found(self.run.subject.dedicated(member), member, op.id);
        self.reaching(op, Who::pooled(member), Handle::Dedicated(tracer, instance))
    }

    pub(super) fn in_session(&self, op: &Op, who: Who, session: S::Session) -> Self {
        self.reaching(op, who, Handle::Session(session))
    }

    fn reaching(&self, op: &Op, who: Who, handle: Handle<S>) -> Self {
        let reach = Reach {
            op: op.id,
            member: who.member,
            handle,
            outer: self.reach.clone(),
        };
        Self::new(Arc::clone(&self.run), Some(Arc::new(reach)), Arc::clone(&self.root))
    }

    /// The session that an enclosing operation started.
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

    /// A span that is about to be made current by hand: the context with it, and the span.
    pub(super) fn by_hand(&self, who: Who, op: &Op) -> (Context, Active) {
        let span = self.run.subject.start(&self.tracer(who, op.id), self.name(who, op));
        let cx = current().with_span(span);
        (cx.clone(), Active::Context(cx))
    }

    pub(super) fn loose(&self, who: Who, op: &Op) -> S::Span {
        self.loose_of(&self.tracer(who, op.id), who, op)
    }

    fn loose_of(&self, tracer: &S::Tracer, who: Who, op: &Op) -> S::Span {
        let mut span = self.run.subject.start(tracer, self.name(who, op));
        span.set_attribute(KeyValue::new("work", self.name(who, op)));
        span
    }

    pub(super) fn session(&self, who: Who, op: &Op, given: bool) -> S::Session {
        let (subject, canary) = (&self.run.subject, self.name(who, op));
        let id = given.then(|| given_id(self.run.seed, op.id));
        let session = subject.session(&self.tracer(who, op.id), id, canary.clone(), canary);
        lock(&self.run.observed)
            .sessions
            .insert(op.id, subject.session_id(&session));
        session
    }

    /// The current context with a baggage entry more.
    pub(super) fn baggage(&self, who: Who, op: &Op) -> Context {
        with_entry(KeyValue::new(baggage_key(op.id), self.name(who, op)))
    }

    /// Takes in headers that lie; what is current for the body.
    pub(super) fn incoming(&self, who: Who, lie: Lie, op: &Op) -> S::Captured {
        let headers = self.incoming_headers(lie, op);
        self.run.subject.extract(&self.tracer(who, op.id), &headers)
    }

    pub(super) fn incoming_headers(&self, lie: Lie, op: &Op) -> HashMap<String, String> {
        let headers = self.lying(lie, op);
        lock(&self.run.observed).incoming.insert(op.id, headers.clone());
        headers
    }

    fn lying(&self, lie: Lie, op: &Op) -> HashMap<String, String> {
        let seed = self.run.seed;
        let mut lying = HashMap::new();
        let mut say = |name: &str, value: String| lying.insert(name.to_owned(), value);
        match lie {
            Lie::Parent => {
                say("traceparent", headers::unknown_parent(seed, op.id));
            }
            Lie::ParentOf(span) => {
                if let Some(Handle::Span(span)) = self.find(span).map(|reach| &reach.handle) {
                    let (trace, span) = span.ids();
                    say("traceparent", headers::traceparent(&trace, &span));
                }
            }
            Lie::Baggage(member) => {
                let canary = self.run.cast[member].canary(op.id);
                let lie = headers::lying_session(seed, op.id);
                say("baggage", format!("{}={canary}{lie}", baggage_key(op.id)));
            }
            Lie::Session => {
                say("traceparent", headers::unknown_parent(seed, op.id));
                say(
                    "baggage",
                    format!("session.id={}", headers::unknown_session(seed, op.id)),
                );
            }
            Lie::Garbage => {
                say("traceparent", headers::traceparent("no-trace", "no-span"));
                say("baggage", format!("session.id=nobody-{}", op.id));
            }
            Lie::SessionOf(session) => {
                if let Some(Handle::Session(session)) = self.find(session).map(|reach| &reach.handle) {
                    say(
                        "baggage",
                        format!("session.id={}", self.run.subject.session_id(session)),
                    );
                }
            }
        }
        lying
    }

    /// Hands the body to a worker and waits until it is done.
    pub(super) fn send(&self, worker: usize, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (place, block) = (self.clone(), Arc::clone(&op.body));
        let (done, wait) = mpsc::sync_channel::<()>(1);
        let job = Box::new(move || {
            let _entered = captured.map(|captured| place.run.subject.enter_captured(&captured));
            place.block(&block);
            drop(done);
        });
        if let Some(worker) = self.run.workers.get(worker)
            && worker.send(job).is_ok()
        {
            // Nothing is sent: the end of the channel says that it is done.
            let _ended = wait.recv();
        }
    }

    /// Operations without a body.
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
            Kind::Current { who } => {
                subject.set_on_current(
                    &self.tracer(who, op.id),
                    format!("current.{}", op.id),
                    self.name(who, op),
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
            Kind::Inject { who } => {
                let headers = subject.inject(&self.tracer(who, op.id), op.id.is_multiple_of(2));
                lock(&self.run.observed).headers.insert(op.id, headers);
            }
            Kind::Overfull { who } => {
                let (captured, tracer) = (subject.capture(), self.tracer(who, op.id));
                let overfull = || {
                    let _entered = subject.enter_captured(&captured);
                    subject.overfull(&tracer, || drop(self.loose(who, op)));
                };
                let ended = thread::scope(|threads| threads.spawn(overfull).join());
                ended.unwrap_or_else(|panicked| resume_unwind(panicked));
            }
            Kind::Event { who } => subject.event(self.name(who, op)),
            Kind::Misname { member, how } => {
                if let Some(wrong) = subject.misname(member, how) {
                    let (op, expected) = (op.id, "the error for it");
                    lock(&self.run.observed).wrong.push(Wrong {
                        op,
                        member,
                        expected,
                        seen: wrong,
                    });
                }
            }
            Kind::Refused { member } => {
                let found = subject.refuse(member, |tracer| self.loose_of(tracer, Who::pooled(member), op));
                self.run.found(found, member, op.id);
            }
            Kind::Disturb(disturbance) => {
                let wrong = subject.disturb(disturbance).map(|(member, wrong)| Wrong {
                    op: op.id,
                    member,
                    expected: "what is documented of it",
                    seen: wrong,
                });
                lock(&self.run.observed).wrong.extend(wrong);
            }
            _ => {}
        }
    }
}

/// The name of the attribute that an operation sets on a span elsewhere.
pub(in super::super) fn late_key(op: OpId) -> String {
    format!("late.{op}")
}

/// The name of the entry of metadata that an enrichment sets.
fn enriched_key(op: OpId) -> String {
    format!("e{op}")
}

/// The name of the baggage entry that an operation sets.
pub(in super::super) fn baggage_key(op: OpId) -> String {
    format!("b{op}")
}

/// The current context with a baggage entry more, by OpenTelemetry's own means.
pub(in super::super) fn with_entry(entry: KeyValue) -> Context {
    let cx = current();
    let here = cx.baggage().iter();
    let here = here.map(|(key, (value, _))| KeyValue::new(key.clone(), value.to_string()));
    let entries: Vec<KeyValue> = here.chain([entry]).collect();
    cx.with_baggage(entries)
}

#[expect(clippy::disallowed_methods, reason = "as a third party would")]
pub(in super::super) fn current() -> Context {
    Context::current()
}
