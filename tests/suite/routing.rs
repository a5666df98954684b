//! Code that knows nothing of tenants: its spans go to the tracer of the scope.

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer, TracerProvider};
use tracer_registry::{RoutingProvider, TracerHandle};
use tracing_subscriber::layer::SubscriberExt;

use crate::support::World;

#[tracing::instrument(skip_all)]
async fn third_party(inner: impl Future<Output = ()>) {
    tracing::info!("an event");
    tokio::task::yield_now().await;
    inner.await;
}

/// Asserts that spans stand under one another, from the root on.
fn assert_chain(world: &World, tenant: &str, names: &[&str]) {
    let spans: Vec<_> = names.iter().map(|name| world.span(tenant, name)).collect();
    assert_eq!(spans[0].parent_span_id, None, "{}", world.project(tenant).tree());
    for pair in spans.windows(2) {
        assert_eq!(
            pair[1].parent_span_id.as_ref(),
            Some(&pair[0].span_id),
            "{}",
            world.project(tenant).tree()
        );
        assert_eq!(pair[1].trace_id, pair[0].trace_id);
    }
}

#[tokio::test]
async fn spans_of_the_tracing_crate_go_to_the_scopes_tracer_as_children_of_its_span() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let routing = RoutingProvider::new();
    let layer = tracing_opentelemetry::layer().with_tracer(routing.tracer("tracing"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let session = b.session("s").start();
    a.in_span("a", async |_| {
        let inside_b = async |_| {
            third_party(async {
                b.in_span("b within", async |_| ()).await;
                a.in_span("a within", async |_| third_party(async {}).await).await;
            })
            .await;
        };
        session.scope(b.in_span("b", inside_b)).await;
    })
    .await;
    third_party(async {}).await;
    assert_eq!(routing.unrouted(), 1, "the one in no scope");
    world.flush();
    assert_chain(&world, "b", &["b", "third_party", "b within"]);
    let of_a = world.project("a");
    assert_chain(&world, "a", &["a", "a within", "third_party"]);
    assert_eq!((of_a.spans().len(), world.project("b").spans().len()), (3, 3));
    for span in world.project("b").spans() {
        assert_eq!(span.attributes["honeyhive.session_id"], session.id());
    }
    world.assert_no_trace_of(session.id(), "a");
}

fn driver(provider: &RoutingProvider) {
    let tracer = provider.tracer("driver");
    tracer.in_span("connect", |_| tracer.start("query").end());
}

#[test]
fn instrumentation_that_got_a_provider_once_follows_the_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let routing = RoutingProvider::new();
    a.in_span_sync("a", |_| {
        driver(&routing);
        b.in_span_sync("b", |_| driver(&routing));
    });
    world.flush();
    assert_chain(&world, "a", &["a", "connect", "query"]);
    assert_chain(&world, "b", &["b", "connect", "query"]);
    assert_eq!(world.span("b", "query").scope.name, "driver");
    assert_eq!(routing.unrouted(), 0);
}

#[test]
fn outside_any_scope_spans_go_to_the_default_that_was_named_or_nowhere_and_are_counted() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let nowhere = RoutingProvider::new();
    driver(&nowhere);
    assert_eq!(nowhere.unrouted(), 2);
    // Not the tracer of whichever span somebody made current: there is no scope.
    let by_hand = Context::current_with_span(a.start_span("by hand")).attach();
    driver(&nowhere);
    drop(by_hand);
    assert_eq!(nowhere.unrouted(), 4);
    let default = RoutingProvider::with_default(b.clone());
    driver(&default);
    a.in_span_sync("a", |_| driver(&default));
    assert_eq!(default.unrouted(), 0);
    world.flush();
    assert_chain(&world, "b", &["connect", "query"]);
    assert_chain(&world, "a", &["a", "connect", "query"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (4, 2));
}

#[test]
fn the_context_that_is_given_decides_before_the_current_one() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let routing = RoutingProvider::new();
    let tracer = routing.tracer("t");
    let of_a = a.in_span_sync("a", |span| span.context().clone());
    let in_b = |tracer_of_b: &TracerHandle| {
        tracer_of_b.in_span_sync("b", |_| {
            tracer.start_with_context("given", &of_a).end();
            tracer.start_with_context("root", &Context::new()).end();
        });
    };
    in_b(&b);
    world.flush();
    assert_chain(&world, "a", &["a", "given"]);
    assert_eq!(world.span("b", "root").parent_span_id, None);
}

#[test]
fn a_routed_span_that_is_made_current_is_found_under_another_tracers_span_made_current_by_hand() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let driver = RoutingProvider::new().tracer("driver");
    let in_a = a.enter();
    driver.in_span("routed", |_| {
        let over = Context::current_with_span(b.start_span("b over it")).attach();
        a.start_span("a within").end();
        drop(over);
    });
    drop(in_a);
    world.flush();
    assert_chain(&world, "a", &["routed", "a within"]);
    assert_chain(&world, "b", &["b over it"]);
}
