//! The tracing layer: spans of the `tracing` crate go to the tracer of the scope in which they are
//! created, events to the current tracer.

mod default_spans;
mod recording;

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt as _;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracer_registry::status::UnroutedStatus;
use tracer_registry::{Selector, TracerHandle};
use tracer_registry_collector::Span;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::{Instrument, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use crate::child_process::is_child;
use crate::routing::assert_chain;
use crate::support::{LONG, World};

fn dispatch(world: &World) -> Dispatch {
    Dispatch::new(registry().with(world.registry.tracing_layer()))
}

/// Creates two tenants and a subscriber for this thread.
fn subscribed() -> (World, TracerHandle, TracerHandle, DefaultGuard) {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let guard = dispatcher::set_default(&dispatch(&world));
    (world, a, b, guard)
}

fn unrouted(world: &World) -> (u64, u64) {
    let UnroutedStatus { spans, tracing, .. } = world.registry.status().unrouted;
    (spans, tracing)
}

fn events(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

#[tracing::instrument(skip_all)]
async fn third_party(inner: impl Future<Output = ()>) {
    info!("an event");
    tokio::task::yield_now().await;
    inner.await;
}

#[tokio::test]
async fn tracing_spans_go_to_the_tracer_of_the_scope_as_children_of_its_span() {
    let (world, a, b, _subscriber) = subscribed();
    let session = b.session("s").start();
    a.in_span_async("a", async |_| {
        let inside_b = async |_| {
            third_party(async {
                b.in_span_async("b within", async |_| ()).await;
                a.in_span_async("a within", async |_| third_party(async {}).await).await;
            })
            .await;
        };
        session.scope(b.in_span_async("b", inside_b)).await;
    })
    .await;
    third_party(async {}).await;
    assert_eq!(unrouted(&world), (1, 0), "the span outside any scope");
    world.flush();
    assert_chain(&world, "b", &["b", "third_party", "b within"]);
    assert_chain(&world, "a", &["a", "a within", "third_party"]);
    let project_a = world.project("a");
    assert_eq!((project_a.spans().len(), world.project("b").spans().len()), (3, 3));
    for span in world.project("b").spans() {
        assert_eq!(span.attributes["honeyhive.session_id"], session.id());
    }
    for tenant in ["a", "b"] {
        assert_eq!(events(&world.span(tenant, "third_party")), ["an event"]);
    }
    world.assert_no_trace_of(session.id(), "a");
}

#[test]
fn a_tracing_span_belongs_to_the_scope_in_which_it_is_created() {
    let (world, a, b, _subscriber) = subscribed();
    let made = || ["in b", "on a thread", "never"].map(|place| info_span!("made", otel.name = place));
    let [in_b, on_a_thread, never] = a.in_span("a", |_| made());
    b.in_span("b", |_| {
        in_b.in_scope(|| info_span!("below").in_scope(|| ()));
        // Close the spans in b's scope.
        drop((in_b, never));
        // After the span of `a` is exited, b's scope is current again.
        info_span!("of b").in_scope(|| ());
    });
    let dispatch = dispatcher::get_default(Dispatch::clone);
    let thread = thread::spawn(move || {
        dispatcher::with_default(&dispatch, || {
            on_a_thread.in_scope(|| info_span!("below it").in_scope(|| ()));
            info_span!("outside").in_scope(|| ());
        });
    });
    thread.join().expect("no panic");
    assert_eq!(unrouted(&world), (1, 0), "`outside`");
    world.flush();
    assert_chain(&world, "a", &["a", "in b", "below"]);
    assert_chain(&world, "a", &["a", "on a thread", "below it"]);
    assert_chain(&world, "a", &["a", "never"]);
    assert_chain(&world, "b", &["b", "of b"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (6, 2));
}

#[test]
fn entering_a_span_created_outside_any_scope_does_not_change_the_scope() {
    for default in [false, true] {
        let world = World::with(&["a", "b"], |builder| {
            if default {
                builder.routing_default(&Selector::tenant("b"))
            } else {
                builder
            }
        });
        // The default tracer exists, so no span waits for it.
        let (a, _b) = (world.tenant("a"), world.tenant("b"));
        let _subscriber = dispatcher::set_default(&dispatch(&world));
        let server = info_span!("server");
        a.in_span("a", |_| {
            server.in_scope(|| info_span!("of a").in_scope(|| info!("to a")));
        });
        server.in_scope(|| info_span!("of the server").in_scope(|| info!("to the server")));
        drop(server);
        world.flush();
        assert_chain(&world, "a", &["a", "of a"]);
        assert_eq!(events(&world.span("a", "of a")), ["to a"]);
        assert_eq!(world.names("a").len(), 2);
        if default {
            assert_chain(&world, "b", &["server", "of the server"]);
            assert_eq!(events(&world.span("b", "of the server")), ["to the server"]);
        }
        let count = if default { 0 } else { 2 };
        assert_eq!(
            (unrouted(&world), world.names("b").len()),
            ((count, 0), if default { 2 } else { 0 })
        );
    }
}

#[test]
fn a_tracing_span_under_another_tracers_span_is_a_root_or_a_child_of_its_own_ancestor() {
    let (world, a, b, _subscriber) = subscribed();
    let _in_a = a.enter();
    info_span!("a").in_scope(|| {
        let in_b = b.enter();
        info_span!("b").in_scope(|| {
            let _in_a = a.enter();
            info_span!("a again").in_scope(|| {
                let _in_b = b.enter();
                info_span!("b again").in_scope(|| ());
            });
        });
        drop(in_b);
        info_span!("a at last").in_scope(|| ());
    });
    world.flush();
    assert_chain(&world, "a", &["a", "a again"]);
    assert_chain(&world, "a", &["a", "a at last"]);
    assert_chain(&world, "b", &["b", "b again"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (3, 2));
    world.assert_no_trace_of(&world.span("a", "a").trace_id, "b");
}

#[test]
fn an_explicit_parent_of_the_same_tracer_is_used_and_no_parent_creates_a_root() {
    let (world, a, b, _subscriber) = subscribed();
    let parent = a.in_span("a", |_| info_span!("parent"));
    b.in_span("b", |_| info_span!(parent: &parent, "b's own").in_scope(|| ()));
    info_span!(parent: &parent, "outside").in_scope(|| ());
    let session = a.session("s").start();
    let in_session = session.enter();
    a.in_span("another", |_| {
        info_span!(parent: &parent, "inside").in_scope(|| ());
        info_span!(parent: None, "root").in_scope(|| info_span!("below the root").in_scope(|| ()));
    });
    drop(in_session);
    info_span!(parent: None, "unscoped").in_scope(|| ());
    drop(parent);
    assert_eq!(unrouted(&world), (1, 0));
    world.flush();
    assert_chain(&world, "a", &["a", "parent", "outside"]);
    assert_chain(&world, "a", &["a", "parent", "inside"]);
    assert_chain(&world, "a", &["root", "below the root"]);
    assert_ne!(world.span("a", "root").trace_id, world.span("a", "another").trace_id);
    assert_eq!(world.span("a", "root").attributes["honeyhive.session_id"], session.id());
    assert_chain(&world, "b", &["b", "b's own"]);
    world.assert_no_trace_of(&world.span("a", "parent").span_id, "b");
}

#[test]
fn a_tracing_span_links_to_the_span_it_follows_if_both_have_the_same_tracer() {
    let (world, a, b, _subscriber) = subscribed();
    let span_of = |tracer: &TracerHandle, name: &str| tracer.in_span("root", |_| info_span!("s", otel.name = name));
    let (first, second, other) = (span_of(&a, "first"), span_of(&a, "second"), span_of(&b, "other"));
    second.follows_from(&first);
    other.follows_from(&first);
    drop((first, second, other));
    world.flush();
    let links = |tenant, name| world.span(tenant, name).links.clone();
    assert_eq!(links("a", "second").len(), 1);
    assert_eq!(links("a", "second")[0].span_id, world.span("a", "first").span_id);
    assert!(links("b", "other").is_empty());
    world.assert_no_trace_of(&world.span("a", "first").trace_id, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instrumented_future_runs_in_the_scope_of_its_span_on_any_thread() {
    let world = Arc::new(World::new(&["a", "b"]));
    let dispatch = dispatch(&world);
    let mut tasks = Vec::new();
    for number in 0..40 {
        let tracer = world.tenant(["a", "b"][number % 2]);
        let span = dispatcher::with_default(&dispatch, || tracer.in_span("made", |_| info_span!("task")));
        let future = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                third_party(async {}).await;
            }
        };
        let future = tracing::instrument::WithSubscriber::with_subscriber(future.instrument(span), dispatch.clone());
        tasks.push(tokio::spawn(future));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    // A pending future that is dropped in another tracer's scope.
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    dispatcher::with_default(&dispatch, || {
        let span = a.in_span("last", |_| info_span!("dropped"));
        let mut future = Box::pin(third_party(std::future::pending()).instrument(span));
        assert!((&mut future).now_or_never().is_none());
        b.in_span("b", |_| drop(future));
    });
    assert_eq!(unrouted(&world), (0, 0));
    world.flush();
    for tenant in ["a", "b"] {
        let project = world.project(tenant);
        let spans = project.spans();
        let tasks: Vec<_> = spans.iter().filter(|span| span.name == "task").collect();
        assert_eq!(tasks.len(), 20);
        for task in tasks {
            let below = spans
                .iter()
                .filter(|span| span.parent_span_id.as_ref() == Some(&task.span_id));
            assert_eq!(below.filter(|span| span.name == "third_party").count(), 5);
        }
    }
    assert_chain(&world, "a", &["last", "dropped"]);
    assert_eq!(
        (world.names("a").len(), world.names("b").len()),
        (20 * 7 + 3, 20 * 7 + 1)
    );
}

#[test]
fn layers_of_two_registries_on_one_subscriber_are_independent() {
    let (one, other) = (
        World::new(&["a"]),
        World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a"))),
    );
    let plain = SdkTracerProvider::builder().build();
    let subscriber = registry()
        .with(tracing_opentelemetry::layer().with_tracer(plain.tracer("plain")))
        .with(one.registry.tracing_layer())
        .with(other.registry.tracing_layer());
    let _subscriber = dispatcher::set_default(&Dispatch::new(subscriber));
    let (tracer_of_one, _default) = (one.tenant("a"), other.tenant("a"));
    tracer_of_one.in_span("one", |_| {
        info_span!("of one").in_scope(|| {
            info!("event one");
            let tracer_of_other = other.tenant("a");
            tracer_of_other.in_span("other", |_| info_span!("of other").in_scope(|| info!("event other")));
        });
    });
    info_span!("in no scope").in_scope(|| info!("event default"));
    one.flush();
    other.flush();
    assert_chain(&one, "a", &["one", "of one"]);
    assert_eq!(
        (one.names("a").len(), events(&one.span("a", "of one"))),
        (2, vec!["event one"])
    );
    assert_chain(&other, "a", &["other", "of other"]);
    assert_chain(&other, "a", &["in no scope"]);
    assert_eq!(other.names("a").len(), 3);
    assert_eq!(events(&other.span("a", "of other")), ["event other"]);
    assert_eq!(events(&other.span("a", "in no scope")), ["event default"]);
    // Each registry counts the spans of the other one as unrouted.
    assert_eq!((unrouted(&one).0, unrouted(&other).0), (2, 1));
}

#[test]
fn a_layer_without_its_registry_counts_spans_and_does_not_panic() {
    let (world, a, _, _subscriber) = subscribed();
    let routing = world.registry.routing_provider();
    let open = a.in_span("a", |_| info_span!("open"));
    let entered = open.clone().entered();
    assert!(world.registry.shutdown(LONG).is_complete());
    drop((entered, open));
    let third_party = || info_span!("s", field = 1).in_scope(|| info!("event"));
    a.in_span("a", |_| third_party());
    third_party();
    assert_eq!(
        world.status("a").spans.accepted,
        4,
        "`open` and the spans of the scope are in the ledger"
    );
    assert_eq!(unrouted(&world), (1, 0));
    drop(world.registry);
    a.in_span("a", |_| third_party());
    third_party();
    assert_eq!(routing.unrouted(), 2);
}

/// Creates spans in a thread-local destructor.
struct SpanOnDrop(Dispatch);

impl Drop for SpanOnDrop {
    fn drop(&mut self) {
        dispatcher::with_default(&self.0, || {
            let span = info_span!("at the end", field = tracing::field::Empty);
            span.in_scope(|| info!("at the end"));
            span.record("field", 1);
        });
    }
}

thread_local! {
    static SPAN_ON_DROP: RefCell<Option<SpanOnDrop>> = const { RefCell::new(None) };
}

#[test]
fn tracing_spans_in_thread_local_destructors_are_ignored() {
    // A failure would abort the process, so the test runs in a child.
    let name = "tracing_layer::tracing_spans_in_thread_local_destructors_are_ignored";
    if !is_child::<&str>(name, &[]) {
        return;
    }
    let world = World::new(&["a"]);
    let (a, dispatch) = (world.tenant("a"), dispatch(&world));
    let thread = thread::spawn(move || {
        // Thread-local variables are dropped in reverse order of first use: those of `tracing`, of
        // this test, of the layer.
        dispatcher::with_default(&Dispatch::new(registry()), || info_span!("first").in_scope(|| ()));
        SPAN_ON_DROP.set(Some(SpanOnDrop(dispatch.clone())));
        dispatcher::with_default(&dispatch, || {
            a.in_span("a", |_| info_span!("in time").in_scope(|| ()));
        });
    });
    thread.join().expect("no panic");
    assert_eq!(unrouted(&world), (0, 0));
    world.flush();
    assert_chain(&world, "a", &["a", "in time"]);
    assert_eq!(world.names("a").len(), 2);
}
