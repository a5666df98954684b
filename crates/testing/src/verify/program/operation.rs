//! Programs: trees of operations that move work around, as values that can be printed, made smaller and run again.
//!
//! A block is synchronous or asynchronous. A synchronous block has synchronous operations only, so
//! nothing in a program blocks on a task of the runtime that it runs on.

use std::sync::Arc;

/// Which operation: unique in a program, and kept when the program is made smaller.
pub(crate) type OpId = u32;

/// A tracer of the cast, or a dedicated one that an enclosing operation made for the same selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Who {
    /// Its place in the cast.
    pub(crate) member: usize,
    /// The [`Kind::Dedicated`] that made it; where that is not around, the pooled tracer is meant.
    pub(crate) dedicated: Option<OpId>,
    /// Which of the tracers that a name had one after the other: 0 in the text of a program, which does not know.
    pub(crate) instance: usize,
}

/// Operations one after the other.
pub(crate) type Block = Arc<[Op]>;

/// What runs at the same time on the same tracers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    /// A thread each.
    pub(crate) threads: Vec<Thread>,
    /// Threads that live as long as the program and take work from a channel, each inside a span of this tracer.
    pub(crate) workers: Vec<(OpId, Who)>,
}

/// What one thread does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thread {
    pub(crate) mode: Mode,
    pub(crate) block: Block,
}

/// How the operations of a block run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sync,
    Async,
}

/// One operation, with what happens inside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) id: OpId,
    pub(crate) kind: Kind,
    /// Of the body.
    pub(crate) mode: Mode,
    pub(crate) body: Block,
}

/// What an operation does around its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A span, current for the body.
    Span { who: Who, how: How },
    /// A span that is not current, ended after the body.
    Loose { who: Who, elsewhere: bool },
    /// The tracer's scope, by `enter` or by `scope`.
    Scope { who: Who },
    /// A session, perhaps ended after so many operations of the body.
    Session {
        who: Who,
        given: bool,
        current: bool,
        end: Option<usize>,
    },
    /// The session that an enclosing operation started, entered once more wherever this is.
    Rejoin { session: OpId },
    /// More about the session that an enclosing operation started.
    Enrich { session: OpId },
    /// An attribute on the span that an enclosing operation started.
    Late { span: OpId },
    /// An attribute on the span that a tracer says is current for it.
    Current { who: Who },
    /// A link from the span that one enclosing operation started to that of another, which is said
    /// to be of another process where it is `remote`.
    Link { from: OpId, to: OpId, remote: bool },
    /// A baggage entry for the body, inside a scope of `who`.
    Baggage { who: Who },
    /// The question which tracer and which session are current.
    Ask,
    /// The headers of an outgoing request.
    Inject { who: Who },
    /// The headers of an incoming request, taken in for the body.
    Incoming { who: Who, lie: Lie },
    /// A tracer of its own for the body.
    Dedicated { member: usize },
    /// A look-up of a name that is not there, in the registry of a member.
    Misname { member: usize, how: Misname },
    /// A panic after the body, inside a span, caught around it.
    Panic { who: Who },
    /// A thread.
    Thread { carried: bool, scoped: bool },
    /// A message to a worker, which does the body.
    Channel { worker: usize, carried: bool },
    /// A task that is waited for.
    Spawn { carried: Carried },
    /// `tokio::spawn` of an `in_span_async` future as it is.
    SpawnSpan { who: Who },
    /// A task for each operation of the body, at the same time.
    JoinSet { carried: bool },
    /// A blocking task.
    Blocking { carried: bool },
    /// A `select!` that drops the branch with the body and its open span, and with a value that
    /// starts a span when it is dropped.
    Select { who: Who, on_drop: OpId },
    /// A task that is aborted with its span open, and with such a value.
    Abort { who: Who, on_drop: OpId },
    /// A task that does the body after all spans around it have ended.
    Deferred { carried: bool },
    /// A stream whose items do the body, read inside a scope of `reader`.
    Stream { reader: Who },
    /// Lets other tasks run.
    Yield,
    /// A request that is served for a tracer, with headers that lie; its response may be dropped unread.
    Request { member: usize, lie: Lie, read: bool },
    /// An event of the `tracing` crate, inside a scope of `who`.
    Event { who: Who },
    /// A traced function, or a span of the `tracing` crate, that no tracer is current for.
    Unscoped { by_subscriber: bool },
    /// A thread with as many contexts as OpenTelemetry keeps, in the scope of another tracer:
    /// nothing can be entered, and a span of `who` by its handle is a root.
    Overfull { who: Who },
    /// Something that is done to the registries meanwhile.
    Disturb(Disturbance),
    /// A span that is open while the key of its tracer is rotated, and is then sent: first with the
    /// old key, which is refused.
    Refused { member: usize },
}

/// What is done to the registries while programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// The tracer is taken out of its pool.
    Remove { member: usize },
    /// A reload of files in which so many members, from this one on, have other bindings.
    Rebind { member: usize, count: usize },
    /// A reload of files with other defaults.
    Defaults { registry: usize },
    /// A reload of files with a fault, which must be kept out.
    Broken { registry: usize },
    /// A reload of files in which a tenant is no more, or again.
    Vanish { member: usize },
    /// The file of a key has another one.
    Rotate { member: usize },
}

/// How a span is made current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `in_span_async` or `in_span`.
    Closure,
    /// `in_span_async` of OpenTelemetry's `Tracer`.
    Trait,
    /// The same of a [`RoutingProvider`](tracer_registry::integrations::RoutingProvider)'s, inside
    /// a scope of the tracer.
    Routed,
    /// A function with `#[trace(tracer = ..)]`.
    Traced,
    /// A function with `#[trace]`, inside a scope of the tracer.
    TracedInScope,
    /// A span of the `tracing` crate, inside a scope of the tracer.
    Subscriber,
    /// `Context::with_span`, the span ended after so many operations of the body.
    ByHand { ended_after: usize },
}

/// What goes with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Nothing,
    /// By [`Scope`](tracer_registry::Scope).
    Scope,
    /// By OpenTelemetry's `with_current_context`.
    Context,
}

/// What incoming headers claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// An unknown parent.
    Parent,
    /// The ids of the span that an enclosing operation started, of whatever tracer.
    ParentOf(OpId),
    /// Baggage with a canary of that member.
    Baggage(usize),
    /// An unknown session, and a parent.
    Session,
    /// The session that an enclosing operation started, of whatever tracer.
    SessionOf(OpId),
    /// A parent and a session that are no ids at all.
    Garbage,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misname {
    Unknown,
    NotAName,
    OtherRegistry,
}

impl How {
    /// Whether nothing names the tracer but the scope.
    pub(crate) fn is_of_scope(self) -> bool {
        matches!(self, Self::Routed | Self::TracedInScope | Self::Subscriber)
    }
}

impl Who {
    pub(crate) fn pooled(member: usize) -> Self {
        Self {
            member,
            dedicated: None,
            instance: 0,
        }
    }
}

impl Program {
    /// How many operations there are.
    pub(crate) fn len(&self) -> usize {
        self.threads.iter().map(|thread| count(&thread.block)).sum()
    }

    /// Every operation, outer ones first.
    pub(crate) fn each(&self, mut see: impl FnMut(&Op)) {
        fn walk(block: &[Op], see: &mut impl FnMut(&Op)) {
            for op in block {
                see(op);
                walk(&op.body, see);
            }
        }
        for thread in &self.threads {
            walk(&thread.block, &mut see);
        }
    }
}

fn count(block: &[Op]) -> usize {
    block.iter().map(|op| 1 + count(&op.body)).sum()
}

impl Op {
    /// The body up to a point, and the rest.
    pub(crate) fn split(&self, after: usize) -> (&[Op], &[Op]) {
        self.body.split_at(after.min(self.body.len()))
    }
}

impl Kind {
    /// The name of the kind in tables.
    pub(crate) fn name(&self, mode: Mode) -> &'static str {
        match self {
            Self::Span { how, .. } => match how {
                How::Closure if mode == Mode::Sync => "span by closure",
                How::Closure => "span by async closure",
                How::Routed => "span by a routing provider",
                How::Trait => "span by the Tracer trait",
                How::Traced => "span by #[trace(tracer)]",
                How::TracedInScope => "span by #[trace] in a scope",
                How::Subscriber => "span by the tracing crate",
                How::ByHand { .. } => "span made current by hand",
            },
            Self::Loose { .. } => "span that is not current",
            Self::Scope { .. } => "scope",
            Self::Session { .. } => "session",
            Self::Rejoin { .. } => "session entered elsewhere",
            Self::Enrich { .. } => "enrichment",
            Self::Late { .. } => "late attribute",
            Self::Current { .. } => "attribute by current_span",
            Self::Link { .. } => "link between spans",
            Self::Baggage { .. } => "baggage",
            Self::Ask => "question what is current",
            Self::Inject { .. } => "outgoing headers",
            Self::Incoming { .. } => "incoming headers that lie",
            Self::Dedicated { .. } => "dedicated tracer",
            Self::Misname { .. } => "look-up of a wrong name",
            Self::Panic { .. } => "panic",
            Self::Thread { .. } => "thread",
            Self::Channel { .. } => "message to a worker",
            Self::Spawn { .. } | Self::SpawnSpan { .. } => "task",
            Self::JoinSet { .. } => "set of tasks",
            Self::Blocking { .. } => "blocking task",
            Self::Select { .. } => "select! that drops a branch",
            Self::Abort { .. } => "aborted task",
            Self::Deferred { .. } => "task that outlives its spans",
            Self::Stream { .. } => "stream",
            Self::Yield => "yield",
            Self::Request { .. } => "request served under a layer",
            Self::Event { .. } => "event of the tracing crate",
            Self::Unscoped { .. } => "traced outside any scope",
            Self::Overfull { .. } => "thread with too many contexts",
            Self::Disturb(disturbance) => disturbance.name(),
            Self::Refused { .. } => "chaos: key that is refused",
        }
    }
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Self::Remove { .. } => "chaos: tracer taken out",
            Self::Rebind { .. } => "chaos: reload with other bindings",
            Self::Defaults { .. } => "chaos: reload with other defaults",
            Self::Broken { .. } => "chaos: reload of files with a fault",
            Self::Vanish { .. } => "chaos: tenant that goes or comes back",
            Self::Rotate { .. } => "chaos: key that is rotated",
        }
    }
}
