//! Work that outlives the request in which it started.

use std::time::Duration;

use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, Tracer, TracerProvider};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::status::StaleScopeStatus;
use tracer_registry::tower::TenantLayer;
use tracer_registry::{Scope, Selector, Session, TracerRegistry};
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::client::header_source;
use crate::support::World;

/// An actor whose messages are traced in the current scope.
struct Actor {
    messages: mpsc::UnboundedSender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Actor {
    /// Starts an actor in the current scope.
    fn start() -> Self {
        let (messages, mut inbox) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let run = async move {
            while let Some(done) = inbox.recv().await {
                info_span!("work").in_scope(|| ());
                done.send(()).expect("the sender waits");
            }
        };
        let task = tokio::spawn(run.instrument(info_span!("actor")));
        Self { messages, task }
    }

    async fn ask(&self) {
        let (done, is_done) = oneshot::channel();
        self.messages.send(done).expect("the actor runs");
        is_done.await.expect("the actor answers");
    }

    async fn end(self) {
        drop(self.messages);
        self.task.await.expect("no panic");
    }
}

fn subscribe(world: &World) -> DefaultGuard {
    let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
    dispatcher::set_default(&Dispatch::new(subscriber))
}

fn stale(world: &World) -> StaleScopeStatus {
    world.registry.status().stale_scope_spans
}

#[tokio::test(start_paused = true)]
async fn spans_of_an_actor_that_outlives_its_request_by_a_minute_are_counted_by_tenant() {
    let world = World::new(&["a", "b"]);
    let _subscriber = subscribe(&world);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let actor = a.in_span_async("request", async |_| Actor::start()).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    actor.ask().await;
    assert_eq!(stale(&world), StaleScopeStatus::default());
    tokio::time::advance(Duration::from_millis(1)).await;
    // The registry cannot know the program's intent, so the span is recorded as usual.
    b.in_span_async("request", async |_| actor.ask().await).await;
    actor.end().await;
    let counted = stale(&world);
    assert_eq!(counted.spans, 1);
    assert_eq!(counted.by_selector, [(a.selector().clone(), 1)].into());
    // A request that takes longer than a minute is not stale.
    a.in_span_async("long request", async |_| {
        tokio::time::advance(Duration::from_secs(120)).await;
        info_span!("work").in_scope(|| ());
    })
    .await;
    assert_eq!(stale(&world).spans, 1);
    world.flush();
    assert_eq!(world.project("a").spans_named("work").count(), 3);
}

/// Starts an actor in a request of tenant `a`. Returns it and the request's scope after the request
/// has ended.
async fn actor_of_ended_request(world: &World, layer: TenantLayer) -> (Actor, Scope) {
    let (sender, mut actors) = mpsc::unbounded_channel();
    let service = layer.layer(tower::service_fn(move |_: Request<()>| {
        let sender = sender.clone();
        async move {
            sender.send((Actor::start(), Scope::current())).expect("the test waits");
            Ok::<_, std::io::Error>(Response::new("a body".to_owned()))
        }
    }));
    let request = Request::get("/").header("x-tenant", "a").body(());
    let response = service.oneshot(request.expect("a request")).await.expect("an answer");
    let (actor, scope) = actors.recv().await.expect("sent above");
    // The span of the request ends with the body.
    actor.ask().await;
    assert!(
        scope
            .tracer()
            .is_some_and(|tracer| tracer.same_tracer(&world.tenant("a")))
    );
    drop(response);
    (actor, scope)
}

fn names(world: &World, tenant: &str) -> Vec<String> {
    let mut names = world.names(tenant);
    names.sort();
    names
}

#[tokio::test]
async fn a_scope_that_ends_with_its_request_has_no_tracer_afterwards() {
    let world = World::with(&["a", "b", "default"], |builder| {
        builder.routing_default(&Selector::tenant("default"))
    });
    let (a, b, _default) = (world.tenant("a"), world.tenant("b"), world.tenant("default"));
    let _subscriber = subscribe(&world);
    let layer = header_source(&world).scope_ends_with_request(true);
    let (actor, scope) = actor_of_ended_request(&world, layer).await;
    assert!(scope.tracer().is_none());
    let driver = world.registry.routing_provider().tracer("driver");
    scope.run(|| {
        assert!(TracerRegistry::current().is_none() && Session::current().is_none());
        driver.in_span("late query", |_| ());
        drop(driver.start("late query"));
        info_span!("late").in_scope(|| ());
        info_span!(parent: None, "late root").in_scope(|| ());
        // Explicit handles, and work inside their scopes.
        a.in_span("by a handle", |_| info_span!("inside a handle's scope").in_scope(|| ()));
        b.in_span("by another handle", |_| {
            driver.in_span("inside another handle's scope", |_| ());
        });
        let _entered = a.enter();
        driver.in_span("inside an entered scope", |_| ());
    });
    // The actor alone, and in a request of another tenant.
    actor.ask().await;
    b.in_span_async("request of b", async |_| actor.ask().await).await;
    actor.end().await;
    world.flush();
    assert_eq!(
        names(&world, "a"),
        [
            "GET",
            "actor",
            "by a handle",
            "inside a handle's scope",
            "inside an entered scope",
            "work"
        ]
    );
    assert_eq!(
        names(&world, "b"),
        ["by another handle", "inside another handle's scope", "request of b"]
    );
    assert_eq!(world.names("default"), Vec::<String>::new());
    let unrouted = world.registry.status().unrouted;
    assert_eq!((unrouted.spans, unrouted.ended_requests), (6, 6));
}

#[tokio::test]
async fn a_span_of_an_ended_request_entered_in_another_tenants_request_has_no_tracer() {
    let world = World::with(&["a", "b", "default"], |builder| {
        builder.routing_default(&Selector::tenant("default"))
    });
    let (a, b, _default) = (world.tenant("a"), world.tenant("b"), world.tenant("default"));
    let _subscriber = subscribe(&world);
    let layer = header_source(&world).scope_ends_with_request(true);
    let (sender, mut span_of_request) = mpsc::unbounded_channel();
    let handle = a.clone();
    let service = layer.layer(tower::service_fn(move |_: Request<()>| {
        let entered = handle.in_span("inside", |_| Scope::current());
        sender.send((info_span!("kept"), entered)).expect("the test waits");
        async { Ok::<_, std::io::Error>(Response::new(String::new())) }
    }));
    let request = Request::get("/").header("x-tenant", "a").body(()).expect("a request");
    drop(service.oneshot(request).await.expect("an answer"));
    let (span_of_request, entered) = span_of_request.recv().await.expect("sent above");
    // The scope of the tenant's own handle, entered within the request, ends with the request too.
    assert!(entered.tracer().is_none());
    let driver = world.registry.routing_provider().tracer("driver");
    b.in_span("request of b", |_| {
        span_of_request.in_scope(|| {
            assert!(TracerRegistry::current().is_none());
            info_span!("late").in_scope(|| tracing::info!("late event"));
            tracing::info!("late event");
            driver.in_span("late query", |_| ());
        });
        tracing::info!("event of b");
    });
    drop(span_of_request);
    world.flush();
    assert_eq!(names(&world, "a"), ["GET", "inside", "kept"]);
    assert_eq!(names(&world, "b"), ["request of b"]);
    assert_eq!(world.names("default"), Vec::<String>::new());
    let project = world.project("b");
    let span = project.spans_named("request of b").next().expect("the request of b");
    let events: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["event of b"]);
    let unrouted = world.registry.status().unrouted;
    assert_eq!((unrouted.spans, unrouted.ended_requests), (2, 2));
}

#[tokio::test]
async fn an_empty_context_in_an_ended_scope_does_not_use_the_default() {
    let world = World::with(&["a", "default"], |builder| {
        builder.routing_default(&Selector::tenant("default"))
    });
    let _default = world.tenant("default");
    let layer = header_source(&world).scope_ends_with_request(true);
    let (actor, scope) = actor_of_ended_request(&world, layer).await;
    let driver = world.registry.routing_provider().tracer("driver");
    scope.run(|| {
        driver.in_span_with_builder_and_context(SpanBuilder::from_name("late"), &Context::new(), |_| {
            driver.in_span("inside", |_| ());
        });
        drop(driver.start_with_context("late", &Context::new()));
    });
    actor.end().await;
    world.flush();
    assert_eq!(world.names("default"), Vec::<String>::new());
    let unrouted = world.registry.status().unrouted;
    assert_eq!((unrouted.spans, unrouted.ended_requests), (3, 3));
}

#[tokio::test]
async fn a_scope_outlives_its_request_by_default() {
    let world = World::new(&["a"]);
    let _subscriber = subscribe(&world);
    let (actor, scope) = actor_of_ended_request(&world, header_source(&world)).await;
    let driver = world.registry.routing_provider().tracer("driver");
    scope.run(|| driver.in_span("query", |_| ()));
    actor.ask().await;
    actor.end().await;
    world.flush();
    assert_eq!(names(&world, "a"), ["GET", "actor", "query", "work", "work"]);
    assert_eq!(world.registry.status().unrouted.spans, 0);
}
