//! The oracle: what a program must come to, from its text alone.
//!
//! It knows lexical rules and nothing of contexts, ids or exporters: what encloses an operation
//! decides, a captured scope carries it along, and a thread or a task without one begins with
//! nothing.

use std::collections::BTreeMap;

use super::super::program::cast::Member;
use super::super::program::operation::{Carried, How, Kind, Lie, Op, OpId, Program, Who};
use super::env::{End, Env, Frame, Handle, InSession, Parent, Reach, Taken};

/// What a program must come to.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) spans: BTreeMap<OpId, ExpectedSpan>,
    pub(crate) sessions: BTreeMap<OpId, ExpectedSession>,
    pub(crate) headers: BTreeMap<OpId, ExpectedHeaders>,
    /// The member with the current scope, and the current session.
    pub(crate) current: BTreeMap<OpId, Option<(Who, InSession)>>,
    /// On which operation's span an event is.
    pub(crate) events: BTreeMap<OpId, OpId>,
    /// What is taken from incoming headers, and by which member.
    pub(crate) incoming: BTreeMap<OpId, (usize, Taken)>,
    /// Whether a rule for programs is broken, so that nothing can be said of it.
    pub(crate) is_invalid: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedSpan {
    pub(crate) who: Who,
    pub(crate) parent: Parent,
    pub(crate) session: InSession,
    /// The operations that set an attribute on it from elsewhere, while it was open.
    pub(crate) late: Vec<OpId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedSession {
    pub(crate) who: Who,
    /// In the order in which they are made. Those of one strand must arrive in this order; of
    /// different ones any order is right.
    pub(crate) enrichments: Vec<Enriched>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enriched {
    pub(crate) strand: OpId,
    /// The operation that it is of; the session's own for its end.
    pub(crate) op: OpId,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedHeaders {
    pub(crate) who: Who,
    pub(crate) parent: Parent,
    /// The operations that set the entries.
    pub(crate) baggage: Vec<OpId>,
    /// The incoming headers whose entries are in it.
    pub(crate) incoming: Option<OpId>,
    pub(crate) session: InSession,
}

/// Where an operation stands.
#[derive(Clone)]
struct Place {
    env: Env,
    reach: Reach,
    strand: OpId,
}

struct Oracle<'a> {
    cast: &'a [Member],
    workers: Vec<(OpId, Who)>,
    /// Which tracer each operation came by, if tracers are replaced meanwhile.
    replaced: Option<&'a Instances>,
    expected: Expected,
}

/// Which tracer of its name an operation came by: two are the same only if they have the same number.
pub(crate) type Instances = BTreeMap<OpId, usize>;

/// Reads a program as its reader would.
pub(crate) fn expect(program: &Program, cast: &[Member]) -> Expected {
    read(program, cast, None)
}

/// The same if tracers are replaced meanwhile, and only the run knows which one an operation came
/// by. A tracer that was replaced is another one than its successor, whatever their names. Before
/// the run nothing is in `instances`, and what comes of it is whether the rules are kept.
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
    for (op, who) in &program.workers {
        let who = oracle.tracer(*op, *who, &Reach::default());
        oracle.span(*op, who, &Env::default());
        oracle.workers.push((*op, who));
    }
    for (index, thread) in (0..).zip(&program.threads) {
        let place = Place {
            env: Env::default(),
            reach: Reach::default(),
            // Not an id of an operation: those count from one thread's to the next from below.
            strand: OpId::MAX - index,
        };
        oracle.block(&thread.block, &place);
    }
    oracle.expected
}

impl Oracle<'_> {
    fn block(&mut self, block: &[Op], place: &Place) {
        for op in block {
            self.op(op, place);
        }
    }

    fn op(&mut self, op: &Op, place: &Place) {
        let (env, reach) = (&place.env, &place.reach);
        let carried = |carried: bool| if carried { env.clone() } else { Env::default() };
        match &op.kind {
            Kind::Span { who, how } if how.is_of_scope() => {
                let who = self.current(*who, place);
                self.current_span(op, who, *how, place);
            }
            Kind::Span { who, how } => self.current_span(op, self.tracer(op.id, *who, reach), *how, place),
            Kind::Select { who, on_drop } | Kind::Abort { who, on_drop } => {
                let (who, dropping) = (self.tracer(op.id, *who, reach), self.tracer(*on_drop, *who, reach));
                self.current_span(op, who, How::Closure, place);
                // What a future holds is dropped where the future ran, whichever task drops it.
                self.span(*on_drop, dropping, &env.with(Frame::Span { who, op: op.id }));
            }
            Kind::SpawnSpan { who } | Kind::Panic { who } => {
                self.current_span(op, self.tracer(op.id, *who, reach), How::Closure, place);
            }
            Kind::Loose { who, .. } => {
                self.span(op.id, self.tracer(op.id, *who, reach), env);
                self.block(&op.body, place);
            }
            Kind::Scope { who } => {
                let who = self.tracer(op.id, *who, reach);
                self.block(&op.body, &place.inside(Frame::Scope { who }));
            }
            Kind::Session { who, current, end, .. } => {
                self.session(op, self.tracer(op.id, *who, reach), *current, *end, place);
            }
            Kind::Rejoin { session } => match reach.session(*session) {
                Some((who, end)) => {
                    let op_of = *session;
                    self.block(&op.body, &place.inside(Frame::Session { who, op: op_of, end }));
                }
                None => self.block(&op.body, place),
            },
            Kind::Refused { member } => self.span(op.id, self.tracer(op.id, Who::pooled(*member), reach), env),
            Kind::Enrich { session } => self.enrich(*session, op.id, place),
            Kind::Late { span } => {
                if reach.span(*span) == Some(true)
                    && let Some(span) = self.expected.spans.get_mut(span)
                {
                    span.late.push(op.id);
                }
            }
            Kind::Baggage { who } => {
                let who = self.current(*who, place);
                self.expected.is_invalid |= env.owner() != Some(who);
                self.block(&op.body, &place.inside(Frame::Baggage { who, op: op.id }));
            }
            Kind::Ask => {
                let current = env.owner().map(|who| (who, self.current_session(who, env)));
                self.expected.current.insert(op.id, current);
            }
            Kind::Inject { who } => self.inject(op.id, self.tracer(op.id, *who, reach), env),
            Kind::Incoming { who, lie } => {
                let who = self.tracer(op.id, *who, reach);
                let inside = self.incoming(op.id, who, *lie, place);
                self.block(&op.body, &inside);
            }
            Kind::Request { member, lie, .. } => {
                let who = self.tracer(op.id, Who::pooled(*member), reach);
                let inside = self.incoming(op.id, who, *lie, place);
                self.current_span(op, who, How::Closure, &inside);
            }
            Kind::Overfull { who } => self.span(op.id, self.tracer(op.id, *who, reach), &Env::default()),
            Kind::Event { who } => self.event(op.id, self.current(*who, place), place),
            Kind::Unscoped { .. } => self.unscoped(op, place),
            Kind::Dedicated { member } => {
                let member = *member;
                self.block(&op.body, &place.reaching(Handle::Dedicated { member, op: op.id }));
            }
            // What is asked of these is that nothing of one tracer is at another's, which is not for the oracle.
            Kind::Current { .. } | Kind::Link { .. } | Kind::Misname { .. } | Kind::Yield | Kind::Disturb(_) => {}
            Kind::Thread { carried: along, .. } | Kind::Blocking { carried: along } => {
                self.block(&op.body, &place.at(carried(*along)));
            }
            Kind::Spawn { carried: along } => self.block(&op.body, &place.at(carried(*along != Carried::Nothing))),
            Kind::Channel { worker, carried: along } => {
                let env = if *along { env.clone() } else { self.worker(*worker) };
                self.block(&op.body, &place.at(env));
            }
            Kind::JoinSet { carried: along } => {
                for child in op.body.iter() {
                    let strand = child.id;
                    self.op(
                        child,
                        &Place {
                            strand,
                            ..place.at(carried(*along))
                        },
                    );
                }
            }
            Kind::Deferred { carried: along } => {
                let place = place
                    .at(carried(*along))
                    .inside(Frame::AllDone)
                    .reaching(Handle::AllEnded);
                self.block(&op.body, &Place { strand: op.id, ..place });
            }
            // Its items are made in what was captured, whichever task reads them.
            Kind::Stream { .. } => self.block(&op.body, place),
        }
    }

    /// What holds where headers that lie were taken in.
    fn incoming(&mut self, op: OpId, who: Who, lie: Lie, place: &Place) -> Place {
        let taken = taken(op, lie, who.member, self.cast, &place.reach);
        self.expected.incoming.insert(op, (who.member, taken));
        place.inside(Frame::Incoming { who, taken })
    }

    fn current_session(&self, who: Who, env: &Env) -> InSession {
        // Where no session is carried, that of a trace may be current inside its first span.
        let of_trace = self.cast[who.member].has_sessions_of_traces();
        if of_trace && env.session(who) == InSession::None {
            InSession::None
        } else {
            env.current_session(who)
        }
    }

    /// The tracer that an operation came by.
    fn tracer(&self, op: OpId, who: Who, reach: &Reach) -> Who {
        let who = reach.resolve(who);
        match self.replaced.and_then(|instances| instances.get(&op)) {
            // Its number says all: a dedicated tracer has one of its own.
            Some(instance) => Who {
                dedicated: None,
                instance: *instance,
                ..who
            },
            None => who,
        }
    }

    /// The tracer of the innermost scope, for an operation that looks none up and is for that one.
    fn current(&self, who: Who, place: &Place) -> Who {
        let owner = place.env.owner().filter(|owner| owner.member == who.member);
        owner
            .filter(|_| self.replaced.is_some_and(|instances| !instances.is_empty()))
            .unwrap_or_else(|| place.reach.resolve(who))
    }

    fn current_span(&mut self, op: &Op, who: Who, how: How, place: &Place) {
        self.span(op.id, who, &place.env);
        let handle = place.reach.started(&place.env, who, op.id);
        self.expected.is_invalid |= how.is_of_scope() && place.env.owner() != Some(who);
        let How::ByHand { ended_after } = how else {
            let inside = place.inside(Frame::Span { who, op: op.id }).reaching(handle);
            self.block(&op.body, &inside);
            return;
        };
        self.expected.is_invalid |= !place.env.may_by_hand(who, self.replaced.is_some());
        let open = place.inside(Frame::ByHand { who, op: op.id }).reaching(handle);
        let (before, after) = op.split(ended_after);
        self.block(before, &open);
        // It stays current, and so the parent, but takes nothing any more.
        self.block(after, &open.reaching(Handle::Ended(op.id)));
    }

    fn span(&mut self, op: OpId, who: Who, env: &Env) {
        self.expected.spans.insert(
            op,
            ExpectedSpan {
                who,
                parent: env.parent(who),
                session: env.session(who),
                late: Vec::new(),
            },
        );
    }

    fn session(&mut self, op: &Op, who: Who, current: bool, ended_after: Option<usize>, place: &Place) {
        let enrichments = Vec::new();
        self.expected
            .sessions
            .insert(op.id, ExpectedSession { who, enrichments });
        let inside = |end: End| {
            let op = op.id;
            let reaching = place.reaching(Handle::Session { who, op, end });
            if current {
                reaching.inside(Frame::Session { who, op, end })
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

    fn enrich(&mut self, session: OpId, op: OpId, place: &Place) {
        if place.reach.session(session).is_some()
            && let Some(session) = self.expected.sessions.get_mut(&session)
        {
            let strand = place.strand;
            session.enrichments.push(Enriched { strand, op });
        }
    }

    /// Nothing comes of it, where there is no scope.
    fn unscoped(&mut self, op: &Op, place: &Place) {
        self.expected.is_invalid |= place.env.owner().is_some();
        self.block(&op.body, place);
    }

    /// It is on the innermost span of the tracer that the code runs for, where that is open and can
    /// be found; else there is no rule.
    fn event(&mut self, op: OpId, who: Who, place: &Place) {
        self.expected.is_invalid |= place.env.owner() != Some(who);
        if let Some(span) = place.env.span_at_hand(who)
            && place.reach.span(span) == Some(true)
        {
            self.expected.events.insert(op, span);
        }
    }

    fn inject(&mut self, op: OpId, who: Who, env: &Env) {
        let (baggage, taken) = env.baggage(who);
        self.expected.headers.insert(
            op,
            ExpectedHeaders {
                who,
                parent: env.parent(who),
                baggage,
                incoming: taken.map(|taken| taken.op),
                session: env.session(who),
            },
        );
    }

    /// What is current on a worker's thread: the span that it runs in.
    fn worker(&self, index: usize) -> Env {
        let worker = self.workers.get(index).copied();
        worker.map_or_else(Env::default, |(op, who)| Env::default().with(Frame::Span { who, op }))
    }
}

/// What a member takes from headers that lie.
pub(crate) fn taken(op: OpId, lie: Lie, who: usize, cast: &[Member], reach: &Reach) -> Taken {
    let member = &cast[who];
    let (parent, baggage) = match lie {
        Lie::Parent => (true, false),
        Lie::ParentOf(span) => {
            let is_refused = reach.is_begun_beside(span, who, cast);
            (reach.span(span).is_some() && !is_refused, false)
        }
        Lie::Baggage(_) | Lie::Garbage => (false, true),
        Lie::Session => (true, true),
        Lie::SessionOf(session) => (false, reach.session(session).is_some()),
    };
    Taken {
        op,
        parent: parent && member.trusts_parents,
        session: lie == Lie::Session && member.takes_sessions,
        baggage,
    }
}

impl Place {
    fn inside(&self, frame: Frame) -> Self {
        self.at(self.env.with(frame))
    }

    fn at(&self, env: Env) -> Self {
        Self { env, ..self.clone() }
    }

    fn reaching(&self, handle: Handle) -> Self {
        Self {
            reach: self.reach.with(handle),
            ..self.clone()
        }
    }
}
