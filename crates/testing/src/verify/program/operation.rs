//! Programs: trees of operations that can be printed, shortened and run again.
//!
//! A block is synchronous or asynchronous. A synchronous block contains only synchronous
//! operations, so a program never blocks on a task of its own runtime.

use std::sync::Arc;

/// Id of an operation: unique in a program, and unchanged when the program is shortened.
pub(crate) type OpId = u32;

/// Reference to a tracer of the cast, or to a dedicated one for the same selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TracerRef {
    /// Index in the cast.
    pub(crate) member: usize,
    /// The [`Kind::Dedicated`] that created it. If that operation does not enclose the reference,
    /// the pooled tracer is used.
    pub(crate) dedicated: Option<OpId>,
    /// Number of the tracer instance. 0 in a program, which does not know the instances.
    pub(crate) instance: usize,
}

/// Operations in sequence.
pub(crate) type Block = Arc<[Op]>;

/// Threads that run concurrently on the same tracers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) threads: Vec<Thread>,
    /// Threads that live as long as the program. Each takes work from a channel, in a span of this
    /// tracer.
    pub(crate) workers: Vec<(OpId, TracerRef)>,
}

/// Operations of one thread.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thread {
    pub(crate) mode: Mode,
    pub(crate) block: Block,
}

/// Whether a block is synchronous or asynchronous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sync,
    Async,
}

/// An operation with its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) id: OpId,
    pub(crate) kind: Kind,
    /// Mode of the body.
    pub(crate) mode: Mode,
    pub(crate) body: Block,
}

/// Kind of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Runs the body in a current span.
    Span { target: TracerRef, how: How },
    /// Starts a span that is not current, and ends it after the body.
    Loose { target: TracerRef, elsewhere: bool },
    /// Runs the body in the scope of a tracer, by `enter` or `scope`.
    Scope { target: TracerRef },
    /// Starts a session, and with `end` ends it after this many operations of the body.
    Session {
        target: TracerRef,
        given: bool,
        current: bool,
        end: Option<usize>,
    },
    /// Enters the session that an enclosing operation started again.
    Rejoin { session: OpId },
    /// Enriches the session that an enclosing operation started.
    Enrich { session: OpId },
    /// Sets an attribute on the span that an enclosing operation started.
    Late { span: OpId },
    /// Sets an attribute on the tracer's current span.
    Current { target: TracerRef },
    /// Links the spans of two enclosing operations; with `remote`, the link is flagged as remote.
    Link { from: OpId, to: OpId, remote: bool },
    /// Sets a baggage entry for the body, in a scope of `target`.
    Baggage { target: TracerRef },
    /// Queries the current tracer and session.
    Ask,
    /// Makes the headers of an outgoing request.
    Inject { target: TracerRef },
    /// Extracts forged incoming headers for the body.
    Incoming { target: TracerRef, forgery: Forgery },
    /// Creates a dedicated tracer for the body.
    Dedicated { member: usize },
    /// Looks up a wrong name in the registry of a member.
    Misname { member: usize, how: Misname },
    /// Panics in a span after the body, and catches the panic.
    Panic { target: TracerRef },
    /// Runs the body on a new thread.
    Thread { carried: bool, scoped: bool },
    /// Sends the body to a worker.
    Channel { worker: usize, carried: bool },
    /// Runs the body in a task and awaits it.
    Spawn { carried: Carried },
    /// Passes an `in_span_async` future to `tokio::spawn`.
    SpawnSpan { target: TracerRef },
    /// Runs each operation of the body in its own task, concurrently.
    JoinSet { carried: bool },
    /// Runs the body in a blocking task.
    Blocking { carried: bool },
    /// Drops a branch of `select!` after the body, with an open span and a value that starts a span
    /// when it is dropped.
    Select { target: TracerRef, on_drop: OpId },
    /// Aborts a task after the body, with an open span and a value like that of `Select`.
    Abort { target: TracerRef, on_drop: OpId },
    /// Runs the body in a task after all enclosing spans have ended.
    Deferred { carried: bool },
    /// Runs the body as items of a stream that is read in a scope of `reader`.
    Stream { reader: TracerRef },
    /// Lets other tasks run.
    Yield,
    /// Serves a request with forged headers. Its response is read or dropped.
    Request {
        member: usize,
        forgery: Forgery,
        read: bool,
    },
    /// Emits an event of the `tracing` crate, in a scope of `target`.
    Event { target: TracerRef },
    /// Calls a traced function, or makes a span of the `tracing` crate, outside any scope.
    Unscoped { by_subscriber: bool },
    /// Runs on a thread that cannot attach more contexts, in the scope of another tracer. A span
    /// that the handle of `target` starts is a root.
    Overfull { target: TracerRef },
    /// Disturbs the registries.
    Disturb(Disturbance),
    /// Rotates the key of a tracer while a span is open, and sends the span. The old key is
    /// refused.
    Refused { member: usize },
}

/// Disturbance of the registries while programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// Removes the tracer from its pool.
    Remove { member: usize },
    /// Reloads files with new bindings for `count` members, starting at this one.
    Rebind { member: usize, count: usize },
    /// Reloads files with new defaults.
    Defaults { registry: usize },
    /// Reloads files with a fault, which the registry must reject.
    Broken { registry: usize },
    /// Reloads files without a tenant, or with it again.
    Vanish { member: usize },
    /// Writes another key to the key file.
    Rotate { member: usize },
    /// Pauses the selector, and resumes it after a moment.
    Pause { member: usize },
    /// Refuses the requests of a target of copies for a moment.
    Refuse { member: usize },
    /// Takes the key of a target of copies away for a moment, and reloads files with another
    /// binding of it.
    Withhold { member: usize },
}

/// API that makes a span current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `in_span_async` or `in_span`.
    Closure,
    /// `in_span` of OpenTelemetry's `Tracer`.
    Trait,
    /// `in_span` of a [`RoutingProvider`](tracer_registry::integrations::RoutingProvider)'s tracer,
    /// in a scope of the tracer.
    Routed,
    /// A function with `#[trace(tracer = ..)]`.
    Traced,
    /// A function with `#[trace]`, in a scope of the tracer.
    TracedInScope,
    /// A span of the `tracing` crate, in a scope of the tracer.
    Subscriber,
    /// `Context::with_span`. The span ends after this many operations of the body.
    ByHand { ended_after: usize },
}

/// How a task gets the current scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Nothing,
    /// By [`Scope`](tracer_registry::Scope).
    Scope,
    /// By OpenTelemetry's `with_current_context`.
    Context,
}

/// Content of forged incoming headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// An unknown parent.
    Parent,
    /// The ids of the span that an enclosing operation started, of any tracer.
    ParentOf(OpId),
    /// Baggage with a canary of this member.
    Baggage(usize),
    /// An unknown session and an unknown parent.
    Session,
    /// The session that an enclosing operation started, of any tracer.
    SessionOf(OpId),
    /// A parent and a session with invalid ids.
    Garbage,
}

/// Kind of a wrong name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misname {
    Unknown,
    Invalid,
    OtherRegistry,
}

impl How {
    /// Returns whether the span's tracer comes from the scope.
    pub(crate) fn uses_scope(self) -> bool {
        matches!(self, Self::Routed | Self::TracedInScope | Self::Subscriber)
    }
}

impl TracerRef {
    pub(crate) fn pooled(member: usize) -> Self {
        Self {
            member,
            dedicated: None,
            instance: 0,
        }
    }
}

impl Program {
    /// Returns the number of operations.
    pub(crate) fn len(&self) -> usize {
        self.threads.iter().map(|thread| count(&thread.block)).sum()
    }

    /// Calls `visit` for each operation, outer ones first.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Op)) {
        fn walk(block: &[Op], visit: &mut impl FnMut(&Op)) {
            for op in block {
                visit(op);
                walk(&op.body, visit);
            }
        }
        for thread in &self.threads {
            walk(&thread.block, &mut visit);
        }
    }
}

fn count(block: &[Op]) -> usize {
    block.iter().map(|op| 1 + count(&op.body)).sum()
}

impl Op {
    /// Splits the body after this many operations.
    pub(crate) fn split(&self, after: usize) -> (&[Op], &[Op]) {
        self.body.split_at(after.min(self.body.len()))
    }
}

impl Kind {
    /// Returns the name of the kind in reports.
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
            Self::Rejoin { .. } => "session entered again",
            Self::Enrich { .. } => "enrichment",
            Self::Late { .. } => "late attribute",
            Self::Current { .. } => "attribute by current_span",
            Self::Link { .. } => "link between spans",
            Self::Baggage { .. } => "baggage",
            Self::Ask => "query of the current scope",
            Self::Inject { .. } => "outgoing headers",
            Self::Incoming { .. } => "spoofed incoming headers",
            Self::Dedicated { .. } => "dedicated tracer",
            Self::Misname { .. } => "look-up of an unknown name",
            Self::Panic { .. } => "panic",
            Self::Thread { .. } => "thread",
            Self::Channel { .. } => "message to a worker thread",
            Self::Spawn { .. } | Self::SpawnSpan { .. } => "task",
            Self::JoinSet { .. } => "JoinSet of tasks",
            Self::Blocking { .. } => "blocking task",
            Self::Select { .. } => "dropped branch of select!",
            Self::Abort { .. } => "aborted task",
            Self::Deferred { .. } => "task after its enclosing spans",
            Self::Stream { .. } => "stream",
            Self::Yield => "yield",
            Self::Request { .. } => "request through a tower layer",
            Self::Event { .. } => "event of the tracing crate",
            Self::Unscoped { .. } => "tracing outside any scope",
            Self::Overfull { .. } => "thread with too many contexts",
            Self::Disturb(disturbance) => disturbance.name(),
            Self::Refused { .. } => "chaos: refused key",
        }
    }
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Self::Remove { .. } => "chaos: removed tracer",
            Self::Rebind { .. } => "chaos: reload with new bindings",
            Self::Defaults { .. } => "chaos: reload with new defaults",
            Self::Broken { .. } => "chaos: reload of invalid files",
            Self::Vanish { .. } => "chaos: tenant removed or restored",
            Self::Rotate { .. } => "chaos: rotated key",
            Self::Pause { .. } => "chaos: paused and resumed",
            Self::Refuse { .. } => "chaos: refused copies",
            Self::Withhold { .. } => "chaos: target without a key",
        }
    }
}
