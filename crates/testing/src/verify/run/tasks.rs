//! Tasks and operations with asynchronous bodies.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, pending, select};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use opentelemetry::KeyValue;
use opentelemetry::trace::{FutureExt as _, Span as _};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinError, JoinSet, spawn_blocking, yield_now};

use super::super::program::cast::planted;
use super::super::program::operation::{Block, Carried, Forgery, How, Kind, Mode, Op, OpId, TracerRef};
use super::super::subject::{Active, PLANTED_KEY, Request, Subject};
use super::interpreter::{Interpreter, Reach};
use super::state::{OpenOnDrop, Root, Run};
use super::sync::{PlannedPanic, end, ended_as_planned};
use crate::lock::lock;

/// Starts a span when it is dropped.
struct OnDrop<S: Subject> {
    run: Arc<Run<S>>,
    tracer: S::Tracer,
    name: String,
}

impl<S: Subject> Drop for OnDrop<S> {
    fn drop(&mut self) {
        let mut span = self.run.subject.start(&self.tracer, self.name.clone());
        span.set_attribute(KeyValue::new("work", self.name.clone()));
        span.set_attribute(KeyValue::new(PLANTED_KEY, planted(&self.name)));
        span.end();
    }
}

impl<S: Subject> Interpreter<S> {
    pub(super) fn block_async(self, block: Block) -> BoxFuture<'static, ()> {
        async move {
            for op in block.iter() {
                self.op_async(op).await;
            }
        }
        .boxed()
    }

    fn body(&self, op: &Op) -> BoxFuture<'static, ()> {
        self.clone().block_async(Arc::clone(&op.body))
    }

    async fn op_async(&self, op: &Op) {
        match op.kind {
            Kind::Yield => yield_now().await,
            Kind::Blocking { carried } => self.blocking(carried, op).await,
            _ if op.mode == Mode::Sync => self.op(op),
            Kind::Span { .. }
            | Kind::Loose { .. }
            | Kind::Scope { .. }
            | Kind::Session { .. }
            | Kind::Rejoin { .. }
            | Kind::Baggage { .. }
            | Kind::Incoming { .. }
            | Kind::Dedicated { .. }
            | Kind::Unscoped { .. }
            | Kind::Request { .. }
            | Kind::Panic { .. } => self.around(op).await,
            Kind::Spawn { carried } => {
                let body = self.body(op);
                let task = match carried {
                    Carried::Nothing => tokio::spawn(body),
                    Carried::Context => tokio::spawn(body.with_current_context()),
                    Carried::Scope => tokio::spawn(self.captured(body)),
                };
                joined(task.await);
            }
            Kind::SpawnSpan { target } => joined(tokio::spawn(self.span(How::Closure, target, op)).await),
            Kind::JoinSet { carried } => self.join_set(carried, op).await,
            Kind::Select { target, on_drop } => self.select(target, on_drop, op).await,
            Kind::Abort { target, on_drop } => self.abort(target, on_drop, op).await,
            Kind::Deferred { carried } => self.defer(carried, op),
            Kind::Stream { reader } => self.stream(reader, op).await,
            _ => self.leaf(op),
        }
    }

    /// Runs an operation that surrounds its body.
    async fn around(&self, op: &Op) {
        let subject = &*self.run.subject;
        match op.kind {
            Kind::Span {
                target,
                how: How::ByHand { ended_after },
            } => {
                let (cx, span) = self.by_hand(target, op);
                let inside = self.in_span(target, op, span.clone());
                let (before, after) = op.split(ended_after);
                let (before, after): (Block, Block) = (before.into(), after.into());
                let body = async move {
                    inside.clone().block_async(before).await;
                    span.end();
                    inside.block_async(after).await;
                };
                body.with_context(cx).await;
            }
            Kind::Span { target, how } => self.span(how, target, op).await,
            Kind::Loose { target, elsewhere } => {
                let span = self.loose(target, op);
                self.body(op).await;
                end(span, elsewhere);
            }
            Kind::Scope { target } => subject.scope(&self.tracer(target, op.id), self.body(op)).await,
            Kind::Session {
                target,
                given,
                current,
                end,
            } => {
                let session = self.session(target, op, given);
                let inside = self.in_session(op, target, session.clone());
                let (before, after) = op.split(end.unwrap_or(usize::MAX));
                let (before, after): (Block, Block) = (before.into(), after.into());
                let (run, ending) = (Arc::clone(&self.run), end.map(|_| session.clone()));
                let body = async move {
                    inside.clone().block_async(before).await;
                    if let Some(session) = ending {
                        run.subject.end_session(&session);
                    }
                    inside.block_async(after).await;
                };
                if current {
                    subject.session_scope(&session, body.boxed()).await;
                } else {
                    body.await;
                }
            }
            Kind::Rejoin { session } => match self.session_in_reach(session) {
                Some(session) => subject.session_scope(&session, self.body(op)).await,
                None => self.body(op).await,
            },
            Kind::Baggage { target } => self.body(op).with_context(self.baggage(target, op)).await,
            Kind::Incoming { target, forgery } => {
                let captured = self.incoming(target, forgery, op);
                subject.captured_scope(&captured, self.body(op)).await;
            }
            Kind::Dedicated { member } => self.in_dedicated(op, member).body(op).await,
            Kind::Panic { target } => {
                let panicking =
                    self.span_then(How::Closure, target, op, async || resume_unwind(Box::new(PlannedPanic)));
                ended_as_planned(AssertUnwindSafe(panicking).catch_unwind().await);
            }
            Kind::Request { member, forgery, read } => self.request(member, forgery, read, op).await,
            Kind::Unscoped { by_subscriber } => subject.unscoped_async(by_subscriber, self.body(op)).await,
            _ => {}
        }
    }

    /// Runs the body in a span.
    fn span(&self, how: How, target: TracerRef, op: &Op) -> BoxFuture<'static, ()> {
        self.span_then(how, target, op, async || ())
    }

    /// Runs the body in a request.
    fn request(&self, member: usize, forgery: Forgery, read: bool, op: &Op) -> BoxFuture<'static, ()> {
        let target = TracerRef::pooled(member);
        let (interpreter, op_inside) = (self.clone(), op.clone());
        let request = Request {
            name: self.name(target, op),
            headers: self.incoming_headers(forgery, op),
            read,
        };
        let work = move |span: Active| interpreter.in_span(target, &op_inside, span).body(&op_inside);
        self.run.subject.request(member, request, Box::new(work))
    }

    /// Runs the body and then `then` in a span.
    fn span_then<T, F>(&self, how: How, target: TracerRef, op: &Op, then: T) -> BoxFuture<'static, ()>
    where
        T: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (interpreter, op_inside) = (self.clone(), op.clone());
        let body = move |span: Active| async move {
            let inside = interpreter.in_span(target, &op_inside, span);
            inside.body(&op_inside).await;
            then().await;
        };
        self.run
            .subject
            .span(how, &self.tracer(target, op.id), self.name(target, op), body)
    }

    fn captured(&self, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let captured = self.run.subject.capture();
        self.run.subject.captured_scope(&captured, body)
    }

    async fn blocking(&self, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (interpreter, block) = (self.clone(), Arc::clone(&op.body));
        let task = spawn_blocking(move || {
            let _entered = captured.map(|captured| interpreter.run.subject.enter_captured(&captured));
            interpreter.block(&block);
        });
        joined(task.await);
    }

    async fn join_set(&self, carried: bool, op: &Op) {
        let mut tasks = JoinSet::new();
        for child in op.body.iter() {
            let body = self.clone().block_async(Block::from([child.clone()]));
            if carried {
                tasks.spawn(self.captured(body));
            } else {
                tasks.spawn(body);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            joined(ended);
        }
    }

    fn on_drop(&self, target: TracerRef, op: OpId) -> OnDrop<S> {
        let name = self.run.cast[target.member].canary(op);
        OnDrop {
            run: Arc::clone(&self.run),
            tracer: self.tracer(target, op),
            name,
        }
    }

    /// Drops the branch after its body, with the span open.
    async fn select(&self, target: TracerRef, on_drop: OpId, op: &Op) {
        let (done, is_done) = oneshot::channel::<()>();
        let held = self.on_drop(target, on_drop);
        let stays_open = self.span_then(How::Closure, target, op, || async move {
            let _held = held;
            drop(done);
            pending::<()>().await;
        });
        if op.id.is_multiple_of(2) {
            tokio::select! {
                () = stays_open => {}
                _ = is_done => {}
            }
        } else {
            drop(select(stays_open, is_done).await);
        }
    }

    /// Aborts the task after its body, with the span open.
    async fn abort(&self, target: TracerRef, on_drop: OpId, op: &Op) {
        let (done, is_done) = oneshot::channel::<()>();
        let held = self.on_drop(target, on_drop);
        let task = tokio::spawn(self.span_then(How::Closure, target, op, || async move {
            let _held = held;
            drop(done);
            pending::<()>().await;
        }));
        drop(is_done.await);
        task.abort();
        joined(task.await);
    }

    /// Defers the body until the block of the thread is done.
    fn defer(&self, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (outer, reach) = (Arc::clone(&self.root), self.reach.clone());
        let body = root(Arc::clone(&self.run), reach, Mode::Async, Arc::clone(&op.body));
        let body = match &captured {
            Some(captured) => self.run.subject.captured_scope(captured, body).boxed(),
            None => body,
        };
        let task = tokio::spawn(async move {
            // The semaphore has no permits: this waits until it is closed.
            drop(outer.gate.acquire().await);
            body.await;
        });
        lock(&self.root.deferred).push(task);
    }

    /// Runs each operation of the body as an item of a stream in the current scope. The reader is
    /// in another scope.
    async fn stream(&self, reader: TracerRef, op: &Op) {
        let (interpreter, children) = (self.clone(), op.body.to_vec());
        let items = stream::iter(children).then(move |child| interpreter.clone().block_async(Block::from([child])));
        let captured = self.run.subject.capture();
        let items = self.run.subject.captured_stream(&captured, items.boxed());
        let read = items.for_each(|()| yield_now()).boxed();
        self.run.subject.scope(&self.tracer(reader, op.id), read).await;
    }
}

/// Runs a block, and then its deferred tasks.
pub(super) fn root<S: Subject>(
    run: Arc<Run<S>>,
    reach: Option<Arc<Reach<S>>>,
    mode: Mode,
    block: Block,
) -> BoxFuture<'static, ()> {
    async move {
        let root = Arc::new(Root {
            gate: Semaphore::new(0),
            deferred: Mutex::default(),
        });
        // Opens the gate even if the block panics: tasks at the gate would keep the workers alive.
        let open_gate = OpenOnDrop(Arc::clone(&root));
        let interpreter = Interpreter::new(run, reach, Arc::clone(&root));
        match mode {
            Mode::Sync => interpreter.block(&block),
            Mode::Async => interpreter.block_async(block).await,
        }
        drop(open_gate);
        let deferred = std::mem::take(&mut *lock(&root.deferred));
        for task in deferred {
            joined(task.await);
        }
    }
    .boxed()
}

/// Resumes the panic of a joined task.
fn joined(ended: Result<(), JoinError>) {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(()) | Err(Err(_)) => {}
        Err(Ok(panicked)) => resume_unwind(panicked),
    }
}
