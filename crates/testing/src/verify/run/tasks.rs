//! Operations with asynchronous bodies, and tasks.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::future::{BoxFuture, pending, select};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use opentelemetry::KeyValue;
use opentelemetry::trace::{FutureExt as _, Span as _};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking, yield_now};

use super::super::program::{Block, Carried, How, Kind, Lie, Mode, Op, OpId, Who};
use super::super::subject::{Active, Request, Subject};
use super::interpreter::root;
use super::place::Place;
use super::state::{Run, Told, joined, lock, told};
use super::sync::end;

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
        span.end();
    }
}

impl<S: Subject> Place<S> {
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
            Kind::SpawnSpan { who } => joined(tokio::spawn(self.span(How::Closure, who, op)).await),
            Kind::JoinSet { carried } => self.join_set(carried, op).await,
            Kind::Select { who, on_drop } => self.select(who, on_drop, op).await,
            Kind::Abort { who, on_drop } => self.abort(who, on_drop, op).await,
            Kind::Deferred { carried } => self.defer(carried, op),
            Kind::Stream { reader } => self.stream(reader, op).await,
            _ => self.leaf(op),
        }
    }

    /// Operations that something holds for the body of.
    async fn around(&self, op: &Op) {
        let subject = &*self.run.subject;
        match op.kind {
            Kind::Span {
                who,
                how: How::ByHand { ended_after },
            } => {
                let (cx, span) = self.by_hand(who, op);
                let inside = self.in_span_async(who, op, span.clone());
                let (before, after) = op.split(ended_after);
                let (before, after): (Block, Block) = (before.into(), after.into());
                let body = async move {
                    inside.clone().block_async(before).await;
                    span.end();
                    inside.block_async(after).await;
                };
                body.with_context(cx).await;
            }
            Kind::Span { who, how } => self.span(how, who, op).await,
            Kind::Loose { who, elsewhere } => {
                let span = self.loose(who, op);
                self.body(op).await;
                end(span, elsewhere);
            }
            Kind::Scope { who } => subject.scope(&self.tracer(who, op.id), self.body(op)).await,
            Kind::Session {
                who,
                given,
                current,
                end,
            } => {
                let session = self.session(who, op, given);
                let inside = self.in_session(op, who, session.clone());
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
            Kind::Baggage { who } => self.body(op).with_context(self.baggage(who, op)).await,
            Kind::Incoming { who, lie } => {
                let captured = self.incoming(who, lie, op);
                subject.captured_scope(&captured, self.body(op)).await;
            }
            Kind::Dedicated { member } => self.in_dedicated(op, member).body(op).await,
            Kind::Panic { who } => {
                let panicking = self.span_then(How::Closure, who, op, async || resume_unwind(Box::new(Told)));
                told(AssertUnwindSafe(panicking).catch_unwind().await);
            }
            Kind::Request { member, lie, read } => self.request(member, lie, read, op).await,
            Kind::Unscoped { by_subscriber } => subject.unscoped_async(by_subscriber, self.body(op)).await,
            _ => {}
        }
    }

    /// The body in a span of its own.
    fn span(&self, how: How, who: Who, op: &Op) -> BoxFuture<'static, ()> {
        self.span_then(how, who, op, async || ())
    }

    /// The body in a request that is served.
    fn request(&self, member: usize, lie: Lie, read: bool, op: &Op) -> BoxFuture<'static, ()> {
        let who = Who::pooled(member);
        let (place, op_inside) = (self.clone(), op.clone());
        let request = Request {
            name: self.name(who, op),
            headers: self.incoming_headers(lie, op),
            read,
        };
        let work = move |span: Active| place.in_span_async(who, &op_inside, span).body(&op_inside);
        self.run.subject.request(member, request, Box::new(work))
    }

    /// The body in a span of its own, and then something more before the span ends.
    fn span_then<T, F>(&self, how: How, who: Who, op: &Op, then: T) -> BoxFuture<'static, ()>
    where
        T: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (place, op_inside) = (self.clone(), op.clone());
        let body = move |span: Active| async move {
            let inside = place.in_span_async(who, &op_inside, span);
            inside.body(&op_inside).await;
            then().await;
        };
        self.run
            .subject
            .span(how, &self.tracer(who, op.id), self.name(who, op), body)
    }

    fn captured(&self, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let captured = self.run.subject.capture();
        self.run.subject.captured_scope(&captured, body)
    }

    async fn blocking(&self, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (place, block) = (self.clone(), Arc::clone(&op.body));
        let task = spawn_blocking(move || {
            let _entered = captured.map(|captured| place.run.subject.enter_captured(&captured));
            place.block(&block);
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

    fn on_drop(&self, who: Who, op: OpId) -> OnDrop<S> {
        let name = self.run.cast[who.member].canary(op);
        OnDrop {
            run: Arc::clone(&self.run),
            tracer: self.tracer(who, op),
            name,
        }
    }

    /// Drops the branch when its body is done, with the span open.
    async fn select(&self, who: Who, on_drop: OpId, op: &Op) {
        let (done, is_done) = oneshot::channel::<()>();
        let held = self.on_drop(who, on_drop);
        let stays_open = self.span_then(How::Closure, who, op, || async move {
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

    /// Aborts the task when its body is done, with the span open.
    async fn abort(&self, who: Who, on_drop: OpId, op: &Op) {
        let (done, is_done) = oneshot::channel::<()>();
        let held = self.on_drop(who, on_drop);
        let task = tokio::spawn(self.span_then(How::Closure, who, op, || async move {
            let _held = held;
            drop(done);
            pending::<()>().await;
        }));
        drop(is_done.await);
        task.abort();
        joined(task.await);
    }

    /// Puts the body off until the block of the thread is done.
    fn defer(&self, carried: bool, op: &Op) {
        let captured = carried.then(|| self.run.subject.capture());
        let (outer, reach) = (Arc::clone(&self.root), self.reach.clone());
        let body = root(Arc::clone(&self.run), reach, Mode::Async, Arc::clone(&op.body));
        let body = match &captured {
            Some(captured) => self.run.subject.captured_scope(captured, body).boxed(),
            None => body,
        };
        let task = tokio::spawn(async move {
            // Closed, and never given out.
            drop(outer.gate.acquire().await);
            body.await;
        });
        lock(&self.root.deferred).push(task);
    }

    /// Does an item of the body at a time in what is current here, while somebody reads them in another scope.
    async fn stream(&self, reader: Who, op: &Op) {
        let (place, children) = (self.clone(), op.body.to_vec());
        let items = stream::iter(children).then(move |child| place.clone().block_async(Block::from([child])));
        let captured = self.run.subject.capture();
        let items = self.run.subject.captured_stream(&captured, items.boxed());
        let read = items.for_each(|()| yield_now()).boxed();
        self.run.subject.scope(&self.tracer(reader, op.id), read).await;
    }
}
