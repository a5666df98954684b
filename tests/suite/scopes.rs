//! Scopes go where the work goes, in every way in which Rust code moves work around, and nothing follows a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context as Task, Poll, Waker};
use std::thread;

use futures_util::{StreamExt, future, stream};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{FutureExt as _, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use rayon::prelude::*;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracer_registry::{Scope, Session, TracerHandle, TracerRegistry};

use crate::support::World;

fn current() -> Option<String> {
    TracerRegistry::current().map(|tracer| tracer.selector().to_string())
}

/// Spans of `tenant` called `name` are children of the one called `parent`, in its session.
fn assert_children(world: &World, tenant: &str, name: &str, parent: &str, count: usize) {
    let parent = world.span(tenant, parent);
    let project = world.project(tenant);
    let found: Vec<_> = project.spans_named(name).collect();
    assert_eq!(found.len(), count, "{}", project.tree());
    for span in found {
        assert_eq!(
            span.parent_span_id.as_ref(),
            Some(&parent.span_id),
            "{}",
            project.tree()
        );
        assert_eq!(
            span.attributes.get("honeyhive.session_id"),
            parent.attributes.get("honeyhive.session_id")
        );
    }
}

#[test]
fn the_current_tracer_and_session_are_those_of_the_innermost_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    assert_eq!(current(), None);
    {
        let _in_a = session.enter();
        assert_eq!(current().as_deref(), Some("tenant:a"));
        assert_eq!(
            Session::current().map(|s| s.id().to_owned()).as_deref(),
            Some(session.id())
        );
        b.in_span("b", |_| {
            assert_eq!(current().as_deref(), Some("tenant:b"));
            assert!(Session::current().is_none(), "a's session is nothing to b");
            let _again = a.enter();
            assert_eq!(current().as_deref(), Some("tenant:a"));
            assert_eq!(
                Session::current().map(|s| s.id().to_owned()).as_deref(),
                Some(session.id())
            );
        });
        assert_eq!(current().as_deref(), Some("tenant:a"));
    }
    assert_eq!(current(), None);
    assert!(Session::current().is_none());
}

#[test]
fn the_scope_of_a_dedicated_tracer_keeps_it() {
    let world = World::new(&["a"]);
    let entered = {
        let dedicated = world.registry.dedicated(tracer_registry::Selector::tenant("a"));
        dedicated.expect("configured").enter()
    };
    TracerRegistry::current().expect("a scope").in_span("late", |_| ());
    drop(entered);
    world.flush();
    world.span("a", "late");
}

#[test]
fn threads_scoped_threads_and_thread_pools_run_in_what_was_captured_and_in_nothing_else() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    let _in_session = session.enter();
    a.in_span("request", |_| {
        let scope = Scope::current();
        let work = |name: &'static str| {
            let a = a.clone();
            move || a.in_span(name, |_| ())
        };
        thread::spawn(scope.wrap(work("on a thread"))).join().expect("no panic");
        thread::spawn(work("captured nothing")).join().expect("no panic");
        thread::scope(|threads| {
            threads.spawn(|| scope.run(work("on a scoped thread")));
        });
        // A pool's threads stand wherever they were left, here in somebody else's scope.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler({
            let b = b.clone();
            move |_| std::mem::forget(b.enter())
        });
        let pool = pool.build().expect("threads");
        pool.install(|| {
            (0..20).into_par_iter().for_each(|_| scope.run(work("in a pool")));
            assert_eq!(current().as_deref(), Some("tenant:b"));
        });
    });
    world.flush();
    assert_children(&world, "a", "on a thread", "request", 1);
    assert_children(&world, "a", "on a scoped thread", "request", 1);
    assert_children(&world, "a", "in a pool", "request", 20);
    let alone = world.span("a", "captured nothing");
    assert_eq!(alone.parent_span_id, None);
    assert_eq!(alone.attributes.get("honeyhive.session_id"), None);
    assert!(world.project("b").spans().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_run_in_what_was_captured_and_in_nothing_else() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    let work = |name: &'static str| {
        let a = a.clone();
        async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                a.start_span(name);
            }
        }
    };
    let request = a.in_span_async("request", async |_| {
        let scope = Scope::current();
        let mut tasks = JoinSet::new();
        tasks.spawn(scope.scope(work("in a set")));
        tasks.spawn(work("by opentelemetry").with_current_context());
        tasks.spawn(b.in_span_async("b's", {
            let work = scope.scope(work("inside b"));
            async |_| work.await
        }));
        tasks.spawn(work("captured nothing"));
        tasks.spawn_blocking(scope.wrap({
            let a = a.clone();
            move || drop(a.start_span("blocking"))
        }));
        tasks.spawn(a.in_span_async("as it is", async |_| ()));
        tasks.join_all().await;
    });
    session.scope(request).await;
    world.flush();
    for name in ["in a set", "by opentelemetry", "inside b"] {
        assert_children(&world, "a", name, "request", 3);
    }
    assert_children(&world, "a", "blocking", "request", 1);
    assert_children(&world, "a", "as it is", "request", 1);
    for alone in world.project("a").spans_named("captured nothing") {
        assert_eq!(alone.parent_span_id, None);
        assert_eq!(alone.attributes.get("honeyhive.session_id"), None);
    }
    let foreign = world.span("b", "b's");
    assert_eq!(foreign.parent_span_id, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_brings_its_scope_along_whatever_the_receiver_is_in() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (jobs, inbox) = mpsc::channel::<(Scope, &'static str)>();
    let worker = thread::spawn({
        let (a, b) = (a.clone(), b.clone());
        move || {
            b.in_span("worker", |_| {
                for (scope, name) in inbox {
                    scope.run(|| drop(a.start_span(name)));
                    drop(b.start_span("between"));
                }
            });
        }
    });
    a.in_span("first", |_| {
        jobs.send((Scope::current(), "of first")).expect("a worker");
    });
    a.in_span("second", |_| {
        jobs.send((Scope::current(), "of second")).expect("a worker");
    });
    jobs.send((Scope::current(), "of nobody")).expect("a worker");
    drop(jobs);
    worker.join().expect("no panic");
    world.flush();
    assert_children(&world, "a", "of first", "first", 1);
    assert_children(&world, "a", "of second", "second", 1);
    assert_eq!(world.span("a", "of nobody").parent_span_id, None);
    assert_children(&world, "b", "between", "worker", 3);
}

/// Starts a span when it is dropped, as code in destructors may.
struct SpanOnDrop(TracerHandle, &'static str);

impl Drop for SpanOnDrop {
    fn drop(&mut self) {
        drop(self.0.start_span(self.1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_select_drops_ends_its_spans_in_its_own_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    let (entered, was_entered) = oneshot::channel();
    let loser = session.scope(a.in_span_async("loser", {
        let a = a.clone();
        async move |_| {
            let _on_drop = SpanOnDrop(a, "on drop");
            entered.send(()).expect("it is waited for");
            future::pending::<()>().await;
        }
    }));
    b.in_span_async("winner", async |_| {
        let loser = pin!(loser);
        tokio::select! {
            biased;
            () = loser => unreachable!("it never ends"),
            heard = was_entered => heard.expect("the loser got far"),
        }
    })
    .await;
    world.flush();
    let lost = world.span("a", "loser");
    assert_eq!(lost.parent_span_id, None);
    assert_eq!(lost.attributes["honeyhive.session_id"], session.id());
    assert_children(&world, "a", "on drop", "loser", 1);
    assert_eq!(world.names("b"), ["winner"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_aborted_ends_its_spans_in_its_own_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (entered, was_entered) = oneshot::channel();
    let task = tokio::spawn(a.in_span_async("aborted", {
        let a = a.clone();
        async move |_| {
            let _on_drop = SpanOnDrop(a, "on drop");
            entered.send(()).expect("it is waited for");
            future::pending::<()>().await;
        }
    }));
    was_entered.await.expect("it got far");
    b.in_span_async("aborting", async |_| {
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
    })
    .await;
    world.flush();
    assert_children(&world, "a", "on drop", "aborted", 1);
    assert_eq!(world.names("b"), ["aborting"]);
}

#[test]
fn a_stream_makes_its_items_in_its_scope_and_they_are_used_outside() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let items = a.in_span("request", |_| {
        let a = a.clone();
        Scope::current().stream(stream::iter(0..3).map(move |item| {
            drop(a.start_span("item"));
            item
        }))
    });
    assert_eq!(stream::Stream::size_hint(&items), (3, Some(3)));
    b.in_span("reader", |_| {
        let mut items = pin!(items);
        let mut task = Task::from_waker(Waker::noop());
        let mut seen = 0;
        while let Poll::Ready(Some(_)) = items.as_mut().poll_next_unpin(&mut task) {
            assert_eq!(current().as_deref(), Some("tenant:b"));
            seen += 1;
        }
        assert_eq!(seen, 3);
    });
    world.flush();
    assert_children(&world, "a", "item", "request", 3);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "as a third party would")]
fn whatever_moves_contexts_moves_scopes() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    let moved = session.scope(async { Context::current() });
    let mut moved = pin!(moved);
    let Poll::Ready(cx) = moved.as_mut().poll(&mut Task::from_waker(Waker::noop())) else {
        panic!("it waits for nothing")
    };
    let scope = Scope::from(cx);
    assert_eq!(
        scope.session().map(|s| s.id().to_owned()).as_deref(),
        Some(session.id())
    );
    assert!(scope.tracer().expect("a's").same_tracer(&a));
    assert!(format!("{scope:?}").contains("tenant:a"), "{scope:?}");
    assert_eq!(current(), None);
    a.tracer("t").start_with_context("in it", scope.context());
    world.flush();
    assert_eq!(
        world.span("a", "in it").attributes["honeyhive.session_id"],
        session.id()
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "as a third party would")]
fn baggage_belongs_to_the_scope_it_was_set_in() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let entry = || {
        Context::current()
            .baggage()
            .get("plan")
            .map(|plan| plan.as_str().to_owned())
    };
    let set = |plan: &'static str| Context::current().with_baggage([KeyValue::new("plan", plan)]).attach();
    a.in_span("a", |_| {
        let _set = set("a's");
        b.in_span("b", |_| {
            assert_eq!(entry(), None, "a's is hidden");
            let _set = set("b's");
            a.in_span("a again", |_| assert_eq!(entry().as_deref(), Some("a's")));
            // A span of a's, made current by hand in b's scope, does not make b's baggage a's.
            let _by_hand = {
                use opentelemetry::trace::TraceContextExt;
                Context::current_with_span(a.start_span("by hand")).attach()
            };
            let _in_a = a.enter();
            assert_eq!(entry().as_deref(), Some("a's"));
        });
        assert_eq!(entry().as_deref(), Some("a's"), "and restored");
    });
    assert_eq!(entry(), None);
}
