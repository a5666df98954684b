//! Isolation of tenants with `#[trace]`.

use std::sync::mpsc;
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::{Scope, Selector, Session, TracerHandle, TracerRegistry, trace};

use crate::support::{World, binding};

#[trace(tracer = a, session = of_a)]
async fn work_of_a(a: &TracerHandle, b: &TracerHandle, of_a: &Session, of_b: &Session) {
    work_of_b(b, of_b).await;
    by_hand(a, b);
    more();
}

#[trace(tracer = b, session = of_b, name = "work of b")]
async fn work_of_b(b: &TracerHandle, of_b: &Session) {
    tokio::task::yield_now().await;
    more();
}

/// Outside any scope of `b`: the span has no session, in particular not a's.
#[trace(tracer = a)]
fn by_hand(a: &TracerHandle, b: &TracerHandle) {
    b.start_span("b by hand").end();
}

#[trace]
fn more() {}

#[tokio::test]
async fn nested_functions_of_two_tenants_keep_traces_and_sessions_separate() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (of_a, of_b) = (a.session("of a").start(), b.session("of b").start());
    work_of_a(&a, &b, &of_a, &of_b).await;
    world.flush();
    assert_eq!(world.project("a").tree(), "work_of_a\n├─ by_hand\n└─ more\n");
    assert_eq!(world.project("b").tree(), "work of b\n└─ more\nb by hand\n");
    for span in world.project("a").spans() {
        assert_eq!(
            (span.session_id.as_deref(), span.source.as_deref()),
            (Some(of_a.id()), Some("test")),
            "{}",
            span.name
        );
    }
    for (name, session) in [
        ("work of b", Some(of_b.id())),
        ("more", Some(of_b.id())),
        ("b by hand", None),
    ] {
        let span = world.span("b", name);
        assert_eq!(
            (span.session_id.as_deref(), span.source.as_deref()),
            (session, Some("test")),
            "{name}"
        );
        world.assert_no_trace_of(&span.trace_id, "a");
    }
    world.assert_no_trace_of(of_a.id(), "b");
    world.assert_no_trace_of(of_b.id(), "a");
}

#[trace(registry = registry, tenant = slug)]
fn nested(registry: &TracerRegistry, slug: &str, further: &[&str]) {
    if let [next, further @ ..] = further {
        nested(registry, next, further);
    }
    more();
}

#[test]
fn a_traced_function_finds_its_ancestor_through_another_tenants_span() {
    let world = World::new(&["a", "b"]);
    nested(&world.registry, "a", &["b", "a", "b"]);
    world.flush();
    for tenant in ["a", "b"] {
        assert_eq!(
            world.project(tenant).tree(),
            "nested\n├─ nested\n│  └─ more\n└─ more\n",
            "{tenant}"
        );
    }
    world.assert_no_trace_of(&world.span("a", "nested").trace_id, "b");
    world.assert_no_trace_of(&world.span("b", "nested").trace_id, "a");
}

#[trace(registry = *registry, feature = "search", tenant = String::from("a"))]
fn by_several(registry: &&TracerRegistry) {}

#[trace(registry = registry.clone(), environment = environment)]
fn by_environment(registry: &TracerRegistry, environment: String) {}

#[test]
fn several_parts_form_one_selector() {
    let world = World::with(&["a"], |builder| {
        builder
            .feature("search", binding("unused"))
            .environment("staging", binding("a"))
            .route(&Selector::tenant("a").feature("search"), binding("a").source("route"))
    });
    by_several(&&world.registry);
    by_environment(&world.registry, "staging".to_owned());
    world.flush();
    assert_eq!(world.span("a", "by_several").source.as_deref(), Some("route"));
    assert_eq!(world.span("a", "by_environment").source.as_deref(), Some("test"));
}

struct Service {
    tracer: TracerHandle,
    maybe: Option<TracerHandle>,
}

impl Service {
    #[trace(tracer = self.tracer)]
    fn by_field(&self) {
        self.by_option();
    }

    #[trace(tracer = self.maybe, session = self.tracer.session("other").start())]
    fn by_option(&self) {
        Self::by_result(&self.tracer);
    }

    #[trace(tracer = Ok::<_, &str>(tracer))]
    fn by_result(tracer: &TracerHandle) {}
}

#[test]
fn a_tracer_can_be_a_handle_option_or_result_and_a_foreign_session_is_ignored() {
    let world = World::new(&["a", "b"]);
    let service = Service {
        tracer: world.tenant("a"),
        maybe: Some(world.tenant("b")),
    };
    service.by_field();
    world.flush();
    assert_eq!(world.project("a").tree(), "by_field\n└─ by_result\n");
    assert_eq!(world.project("b").tree(), "by_option\n");
    assert_eq!(world.span("b", "by_option").session_id, None);
}

#[trace(session = session)]
fn by_session(session: Option<&Session>) {}

#[test]
fn a_session_alone_selects_its_tracer() {
    let world = World::new(&["a", "b"]);
    let session = world.tenant("a").session("of a").start();
    world.tenant("b").in_span("b", |_| by_session(Some(&session)));
    world.tenant("b").in_span("b too", |_| by_session(None));
    world.flush();
    assert_eq!(world.span("a", "by_session").session_id.as_deref(), Some(session.id()));
    assert_eq!(world.project("b").tree(), "b\nb too\n└─ by_session\n");
}

#[trace]
fn here(place: &'static str) {
    let _ = place;
}

#[trace(name = "dropped branch")]
async fn dropped() {
    let _span_on_drop = SpanOnDrop;
    std::future::pending::<()>().await;
}

struct SpanOnDrop;

impl Drop for SpanOnDrop {
    fn drop(&mut self) {
        here("in a drop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_moved_with_its_scope_is_in_the_trace_and_other_work_is_not() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let moves = a.in_span_async("moves", async |_| {
        let scope = Scope::current();
        // Work with the scope is in the trace; work without it is in none, on any thread.
        thread::spawn(scope.wrap(|| here("a thread"))).join().expect("no panic");
        thread::spawn(|| here("a bare thread")).join().expect("no panic");
        tokio::spawn(scope.scope(async { here("a task") }))
            .await
            .expect("no panic");
        tokio::spawn(async { here("a bare task") }).await.expect("no panic");
        tokio::task::spawn_blocking(scope.wrap(|| here("a blocking task")))
            .await
            .expect("no panic");
        let (jobs, inbox) = mpsc::channel::<Scope>();
        let b = b.clone();
        let worker = thread::spawn(move || {
            // This worker runs in b's scope.
            let _in_b = b.enter();
            for scope in inbox {
                scope.run(|| here("a channel"));
            }
            here("a worker");
        });
        jobs.send(scope).expect("the worker receives");
        drop(jobs);
        worker.join().expect("no panic");
        tokio::select! {
            biased;
            () = dropped() => {}
            () = tokio::task::yield_now() => here("a select"),
        }
    });
    moves.await;
    world.flush();
    let tree = world.project("a").tree();
    assert_eq!(tree.matches("here").count(), 6, "{tree}");
    assert!(tree.contains("├─ dropped branch\n│  └─ here\n"), "{tree}");
    assert_eq!(world.project("b").tree(), "here\n");
    world.assert_no_trace_of(&world.span("a", "moves").trace_id, "b");
}
