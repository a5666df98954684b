//! Scopes across threads, tasks, messages and streams. A thread that runs the work does not pass on
//! its own scope.

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

/// Asserts that `count` spans named `name` are children of the span `parent`, in its session.
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
            assert!(
                Session::current().is_none(),
                "a's session must not be visible in b's scope"
            );
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
fn a_scope_keeps_its_dedicated_tracer_alive() {
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
fn threads_and_thread_pools_run_in_the_captured_scope_only() {
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
        thread::spawn(work("without a scope")).join().expect("no panic");
        thread::scope(|threads| {
            threads.spawn(|| scope.run(work("on a scoped thread")));
        });
        // Pool threads may have any current scope; here that of another tenant.
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
    let alone = world.span("a", "without a scope");
    assert_eq!(alone.parent_span_id, None);
    assert_eq!(alone.attributes.get("honeyhive.session_id"), None);
    assert!(world.project("b").spans().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_run_in_the_captured_scope_only() {
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
        tasks.spawn(work("without a scope"));
        tasks.spawn_blocking(scope.wrap({
            let a = a.clone();
            move || drop(a.start_span("blocking"))
        }));
        tasks.spawn(a.in_span_async("in_span_async", async |_| ()));
        tasks.join_all().await;
    });
    session.scope(request).await;
    world.flush();
    for name in ["in a set", "by opentelemetry", "inside b"] {
        assert_children(&world, "a", name, "request", 3);
    }
    assert_children(&world, "a", "blocking", "request", 1);
    assert_children(&world, "a", "in_span_async", "request", 1);
    for alone in world.project("a").spans_named("without a scope") {
        assert_eq!(alone.parent_span_id, None);
        assert_eq!(alone.attributes.get("honeyhive.session_id"), None);
    }
    let foreign = world.span("b", "b's");
    assert_eq!(foreign.parent_span_id, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_processed_in_its_own_scope_not_the_receivers() {
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
    jobs.send((Scope::current(), "unscoped")).expect("a worker");
    drop(jobs);
    worker.join().expect("no panic");
    world.flush();
    assert_children(&world, "a", "of first", "first", 1);
    assert_children(&world, "a", "of second", "second", 1);
    assert_eq!(world.span("a", "unscoped").parent_span_id, None);
    assert_children(&world, "b", "between", "worker", 3);
}

/// Starts a span when dropped, like code in a destructor.
struct SpanOnDrop(TracerHandle, &'static str);

impl Drop for SpanOnDrop {
    fn drop(&mut self) {
        drop(self.0.start_span(self.1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_dropped_by_select_ends_its_spans_in_its_own_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    let (entered, was_entered) = oneshot::channel();
    let loser = session.scope(a.in_span_async("loser", {
        let a = a.clone();
        async move |_| {
            let _on_drop = SpanOnDrop(a, "on drop");
            entered.send(()).expect("the winner waits for it");
            future::pending::<()>().await;
        }
    }));
    b.in_span_async("winner", async |_| {
        let loser = pin!(loser);
        tokio::select! {
            biased;
            () = loser => unreachable!("the loser never ends"),
            heard = was_entered => heard.expect("the loser has started"),
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
async fn an_aborted_task_ends_its_spans_in_its_own_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (entered, was_entered) = oneshot::channel();
    let task = tokio::spawn(a.in_span_async("aborted", {
        let a = a.clone();
        async move |_| {
            let _on_drop = SpanOnDrop(a, "on drop");
            entered.send(()).expect("the test waits for it");
            future::pending::<()>().await;
        }
    }));
    was_entered.await.expect("the task has started");
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
fn a_stream_produces_its_items_in_its_scope_and_the_consumer_keeps_its_own() {
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
        let mut count = 0;
        while let Poll::Ready(Some(_)) = items.as_mut().poll_next_unpin(&mut task) {
            assert_eq!(current().as_deref(), Some("tenant:b"));
            count += 1;
        }
        assert_eq!(count, 3);
    });
    world.flush();
    assert_children(&world, "a", "item", "request", 3);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "third-party code does this")]
fn moving_an_opentelemetry_context_moves_its_scope() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    let moved = session.scope(async { Context::current() });
    let mut moved = pin!(moved);
    let Poll::Ready(cx) = moved.as_mut().poll(&mut Task::from_waker(Waker::noop())) else {
        panic!("the future never waits")
    };
    let scope = Scope::from(cx);
    assert_eq!(
        scope.session().map(|s| s.id().to_owned()).as_deref(),
        Some(session.id())
    );
    assert!(scope.tracer().expect("the tracer of a").same_tracer(&a));
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
#[expect(clippy::disallowed_methods, reason = "third-party code does this")]
fn baggage_belongs_to_the_scope_in_which_it_was_set() {
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
            assert_eq!(entry(), None, "a's baggage is hidden");
            let _set = set("b's");
            a.in_span("a again", |_| assert_eq!(entry().as_deref(), Some("a's")));
            // A span of `a` attached by hand in b's scope does not move b's baggage to `a`.
            let _by_hand = {
                use opentelemetry::trace::TraceContextExt;
                Context::current_with_span(a.start_span("by hand")).attach()
            };
            let _in_a = a.enter();
            assert_eq!(entry().as_deref(), Some("a's"));
        });
        assert_eq!(entry().as_deref(), Some("a's"), "a's baggage is restored");
    });
    assert_eq!(entry(), None);
}
