//! Predicts the data of a program from its text.
//!
//! The oracle knows lexical rules, and no contexts, ids or exporters. The enclosing operations
//! decide; a captured scope carries them to another thread or task; without one, it starts with an
//! empty scope.

use std::collections::BTreeMap;

use super::super::program::cast::Member;
use super::super::program::operation::{Carried, Forgery, How, Kind, Op, OpId, Program, TracerRef};
use super::env::{Accepted, End, Env, Frame, Handle, InSession, Parent, Reach};

/// Expected data of a program.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) spans: BTreeMap<OpId, ExpectedSpan>,
    pub(crate) sessions: BTreeMap<OpId, ExpectedSession>,
    pub(crate) headers: BTreeMap<OpId, ExpectedHeaders>,
    /// Current tracer and session.
    pub(crate) current: BTreeMap<OpId, Option<(TracerRef, InSession)>>,
    /// Event to the operation of its span.
    pub(crate) events: BTreeMap<OpId, OpId>,
    /// The member that gets incoming headers, and the parts it accepts.
    pub(crate) incoming: BTreeMap<OpId, (usize, Accepted)>,
    /// Whether the program breaks a rule, so that the expectation is undefined.
    pub(crate) is_invalid: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedSpan {
    pub(crate) target: TracerRef,
    pub(crate) parent: Parent,
    pub(crate) session: InSession,
    /// Operations that set an attribute on the open span through its handle.
    pub(crate) late: Vec<OpId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedSession {
    pub(crate) target: TracerRef,
    /// In program order. Enrichments of one strand must arrive in this order.
    pub(crate) enrichments: Vec<Enriched>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enriched {
    /// Sequential part of the program.
    pub(crate) strand: OpId,
    /// Operation of the enrichment; that of the session for its end.
    pub(crate) op: OpId,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedHeaders {
    pub(crate) target: TracerRef,
    pub(crate) parent: Parent,
    /// Operations that set baggage entries.
    pub(crate) baggage: Vec<OpId>,
    /// Operation with the incoming headers of further entries.
    pub(crate) incoming: Option<OpId>,
    pub(crate) session: InSession,
}

/// Lexical state at an operation.
#[derive(Clone)]
struct State {
    env: Env,
    reach: Reach,
    strand: OpId,
}

struct Oracle<'a> {
    cast: &'a [Member],
    workers: Vec<(OpId, TracerRef)>,
    /// Tracer instance of each operation, if tracers are replaced while the program runs.
    replaced: Option<&'a Instances>,
    expected: Expected,
}

/// Number of the tracer instance that each operation used. Equal numbers mean the same tracer.
pub(crate) type Instances = BTreeMap<OpId, usize>;

/// Returns the expected data of a program.
pub(crate) fn expect(program: &Program, cast: &[Member]) -> Expected {
    read(program, cast, None)
}

/// Returns the expected data of a program if tracers are replaced while it runs. A replaced tracer
/// differs from its successor. Before the run `instances` is empty, and only `is_invalid` is
/// meaningful.
pub(crate) fn expect_replaced(program: &Program, cast: &[Member], instances: &Instances) -> Expected {
    read(program, cast, Some(instances))
}

fn read(program: &Program, cast: &[Member], replaced: Option<&Instances>) -> Expected {
    let mut oracle = Oracle {
        cast,
        workers: Vec::new(),
        replaced,
        expected: Expected::default(),
    };
    for (op, target) in &program.workers {
        let target = oracle.tracer(*op, *target, &Reach::default());
        oracle.span(*op, target, &Env::default());
        oracle.workers.push((*op, target));
    }
    for (index, thread) in (0..).zip(&program.threads) {
        let state = State {
            env: Env::default(),
            reach: Reach::default(),
            // Not the id of an operation: those count up from 1.
            strand: OpId::MAX - index,
        };
        oracle.block(&thread.block, &state);
    }
    oracle.expected
}

impl Oracle<'_> {
    fn block(&mut self, block: &[Op], state: &State) {
        for op in block {
            self.op(op, state);
        }
    }

    fn op(&mut self, op: &Op, state: &State) {
        let (env, reach) = (&state.env, &state.reach);
        let carried = |carried: bool| if carried { env.clone() } else { Env::default() };
        match &op.kind {
            Kind::Span { target, how } if how.uses_scope() => {
                let target = self.current(*target, state);
                self.current_span(op, target, *how, state);
            }
            Kind::Span { target, how } => self.current_span(op, self.tracer(op.id, *target, reach), *how, state),
            Kind::Select { target, on_drop } | Kind::Abort { target, on_drop } => {
                let (target, dropping) = (
                    self.tracer(op.id, *target, reach),
                    self.tracer(*on_drop, *target, reach),
                );
                self.current_span(op, target, How::Closure, state);
                // The values of a dropped future are dropped in its context, whichever task drops
                // it.
                self.span(*on_drop, dropping, &env.with(Frame::Span { target, op: op.id }));
            }
            Kind::SpawnSpan { target } | Kind::Panic { target } => {
                self.current_span(op, self.tracer(op.id, *target, reach), How::Closure, state);
            }
            Kind::Loose { target, .. } => {
                self.span(op.id, self.tracer(op.id, *target, reach), env);
                self.block(&op.body, state);
            }
            Kind::Scope { target } => {
                let target = self.tracer(op.id, *target, reach);
                self.block(&op.body, &state.inside(Frame::Scope { target }));
            }
            Kind::Session {
                target, current, end, ..
            } => {
                self.session(op, self.tracer(op.id, *target, reach), *current, *end, state);
            }
            Kind::Rejoin { session } => match reach.session(*session) {
                Some((target, end)) => {
                    let op_of = *session;
                    self.block(&op.body, &state.inside(Frame::Session { target, op: op_of, end }));
                }
                None => self.block(&op.body, state),
            },
            Kind::Refused { member } => self.span(op.id, self.tracer(op.id, TracerRef::pooled(*member), reach), env),
            Kind::Enrich { session } => self.enrich(*session, op.id, state),
            Kind::Late { span } => {
                if reach.span(*span) == Some(true)
                    && let Some(span) = self.expected.spans.get_mut(span)
                {
                    span.late.push(op.id);
                }
            }
            Kind::Baggage { target } => {
                let target = self.current(*target, state);
                self.expected.is_invalid |= env.owner() != Some(target);
                self.block(&op.body, &state.inside(Frame::Baggage { target, op: op.id }));
            }
            Kind::Ask => {
                let current = env.owner().map(|target| (target, self.current_session(target, env)));
                self.expected.current.insert(op.id, current);
            }
            Kind::Inject { target } => self.inject(op.id, self.tracer(op.id, *target, reach), env),
            Kind::Incoming { target, forgery } => {
                let target = self.tracer(op.id, *target, reach);
                let inside = self.incoming(op.id, target, *forgery, state);
                self.block(&op.body, &inside);
            }
            Kind::Request { member, forgery, .. } => {
                let target = self.tracer(op.id, TracerRef::pooled(*member), reach);
                let inside = self.incoming(op.id, target, *forgery, state);
                self.current_span(op, target, How::Closure, &inside);
            }
            Kind::Overfull { target } => self.span(op.id, self.tracer(op.id, *target, reach), &Env::default()),
            Kind::Event { target } => self.event(op.id, self.current(*target, state), state),
            Kind::Unscoped { .. } => self.unscoped(op, state),
            Kind::Dedicated { member } => {
                let member = *member;
                self.block(&op.body, &state.reaching(Handle::Dedicated { member, op: op.id }));
            }
            // The scan for leaks checks the effects of these, not the oracle.
            Kind::Current { .. } | Kind::Link { .. } | Kind::Misname { .. } | Kind::Yield | Kind::Disturb(_) => {}
            Kind::Thread { carried: along, .. } | Kind::Blocking { carried: along } => {
                self.block(&op.body, &state.at(carried(*along)));
            }
            Kind::Spawn { carried: along } => self.block(&op.body, &state.at(carried(*along != Carried::Nothing))),
            Kind::Channel { worker, carried: along } => {
                let env = if *along { env.clone() } else { self.worker(*worker) };
                self.block(&op.body, &state.at(env));
            }
            Kind::JoinSet { carried: along } => {
                for child in op.body.iter() {
                    self.op(child, &state.at(carried(*along)).on_strand(child.id));
                }
            }
            Kind::Deferred { carried: along } => {
                let state = state.at(carried(*along)).inside(Frame::AllDone);
                self.block(&op.body, &state.reaching(Handle::AllEnded).on_strand(op.id));
            }
            // Its items run in the captured scope, whichever task reads them.
            Kind::Stream { .. } => self.block(&op.body, state),
        }
    }

    /// Returns the state in the scope of extracted headers.
    fn incoming(&mut self, op: OpId, target: TracerRef, forgery: Forgery, state: &State) -> State {
        let accepted = accepted(op, forgery, target.member, self.cast, &state.reach);
        self.expected.incoming.insert(op, (target.member, accepted));
        state.inside(Frame::Incoming { target, accepted })
    }

    fn current_session(&self, target: TracerRef, env: &Env) -> InSession {
        // Without an open session, the session of the trace may be current in its first span.
        let of_trace = self.cast[target.member].has_sessions_of_traces();
        if of_trace && env.session(target) == InSession::None {
            InSession::None
        } else {
            env.current_session(target)
        }
    }

    /// Returns the tracer that an operation used.
    fn tracer(&self, op: OpId, target: TracerRef, reach: &Reach) -> TracerRef {
        let target = reach.resolve(target);
        match self.replaced.and_then(|instances| instances.get(&op)) {
            // The number identifies the tracer; dedicated tracers have their own numbers.
            Some(instance) => TracerRef {
                dedicated: None,
                instance: *instance,
                ..target
            },
            None => target,
        }
    }

    /// Returns the tracer of the innermost scope, for an operation without a look-up.
    fn current(&self, target: TracerRef, state: &State) -> TracerRef {
        let owner = state.env.owner().filter(|owner| owner.member == target.member);
        owner
            .filter(|_| self.replaced.is_some_and(|instances| !instances.is_empty()))
            .unwrap_or_else(|| state.reach.resolve(target))
    }

    fn current_span(&mut self, op: &Op, target: TracerRef, how: How, state: &State) {
        self.span(op.id, target, &state.env);
        let handle = state.reach.started(&state.env, target, op.id);
        self.expected.is_invalid |= how.uses_scope() && state.env.owner() != Some(target);
        let How::ByHand { ended_after } = how else {
            let inside = state.inside(Frame::Span { target, op: op.id }).reaching(handle);
            self.block(&op.body, &inside);
            return;
        };
        self.expected.is_invalid |= !state.env.may_by_hand(target, self.replaced.is_some());
        let open = state.inside(Frame::ByHand { target, op: op.id }).reaching(handle);
        let (before, after) = op.split(ended_after);
        self.block(before, &open);
        // The ended span stays current and a parent, but ignores attributes and events.
        self.block(after, &open.reaching(Handle::Ended(op.id)));
    }

    fn span(&mut self, op: OpId, target: TracerRef, env: &Env) {
        self.expected.spans.insert(
            op,
            ExpectedSpan {
                target,
                parent: env.parent(target),
                session: env.session(target),
                late: Vec::new(),
            },
        );
    }

    fn session(&mut self, op: &Op, target: TracerRef, current: bool, ended_after: Option<usize>, state: &State) {
        let enrichments = Vec::new();
        self.expected
            .sessions
            .insert(op.id, ExpectedSession { target, enrichments });
        let inside = |end: End| {
            let op = op.id;
            let reaching = state.reaching(Handle::Session { target, op, end });
            if current {
                reaching.inside(Frame::Session { target, op, end })
            } else {
                reaching
            }
        };
        let Some(ended_after) = ended_after else {
            self.block(&op.body, &inside(End::Never));
            return;
        };
        let (before, after) = op.split(ended_after);
        self.block(before, &inside(End::Later));
        let ended = inside(End::Already);
        self.enrich(op.id, op.id, &ended);
        self.block(after, &ended);
    }

    fn enrich(&mut self, session: OpId, op: OpId, state: &State) {
        if state.reach.session(session).is_some()
            && let Some(session) = self.expected.sessions.get_mut(&session)
        {
            let strand = state.strand;
            session.enrichments.push(Enriched { strand, op });
        }
    }

    /// Outside any scope, the operation makes no span.
    fn unscoped(&mut self, op: &Op, state: &State) {
        self.expected.is_invalid |= state.env.owner().is_some();
        self.block(&op.body, state);
    }

    /// The event is on the innermost span of the scope's tracer if that is open and accessible.
    /// Otherwise there is no rule.
    fn event(&mut self, op: OpId, target: TracerRef, state: &State) {
        self.expected.is_invalid |= state.env.owner() != Some(target);
        if let Some(span) = state.env.accessible_span(target)
            && state.reach.span(span) == Some(true)
        {
            self.expected.events.insert(op, span);
        }
    }

    fn inject(&mut self, op: OpId, target: TracerRef, env: &Env) {
        let (baggage, accepted) = env.baggage(target);
        self.expected.headers.insert(
            op,
            ExpectedHeaders {
                target,
                parent: env.parent(target),
                baggage,
                incoming: accepted.map(|accepted| accepted.op),
                session: env.session(target),
            },
        );
    }

    /// Returns the scopes on a worker's thread: the span that it runs in.
    fn worker(&self, index: usize) -> Env {
        let worker = self.workers.get(index).copied();
        worker.map_or_else(Env::default, |(op, target)| {
            Env::default().with(Frame::Span { target, op })
        })
    }
}

/// Returns the parts of forged headers that a member accepts.
pub(crate) fn accepted(op: OpId, forgery: Forgery, member: usize, cast: &[Member], reach: &Reach) -> Accepted {
    let settings = &cast[member];
    let (parent, baggage) = match forgery {
        Forgery::Parent => (true, false),
        Forgery::ParentOf(span) => {
            let is_refused = reach.is_trace_of_sibling(span, member, cast);
            (reach.span(span).is_some() && !is_refused, false)
        }
        Forgery::Baggage(_) | Forgery::Garbage => (false, true),
        Forgery::Session => (true, true),
        Forgery::SessionOf(session) => (false, reach.session(session).is_some()),
    };
    Accepted {
        op,
        parent: parent && settings.trusts_parents,
        session: forgery == Forgery::Session && settings.takes_sessions,
        baggage,
    }
}

impl State {
    fn inside(&self, frame: Frame) -> Self {
        self.at(self.env.with(frame))
    }

    fn at(&self, env: Env) -> Self {
        Self { env, ..self.clone() }
    }

    fn on_strand(&self, strand: OpId) -> Self {
        Self { strand, ..self.clone() }
    }

    fn reaching(&self, handle: Handle) -> Self {
        Self {
            reach: self.reach.with(handle),
            ..self.clone()
        }
    }
}
