//! Tower layers: requests over HTTP, each in its tenant's scope.

mod bodies;
mod client;
#[cfg(feature = "tracing")]
mod ended_requests;
mod fallbacks;
#[cfg(feature = "grpc")]
mod grpc;
mod grpc_calls;
mod load;
mod lookups;
mod outgoing;
mod spans;
mod tenant_errors;
#[cfg(feature = "tracing")]
mod tracing_spans;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use futures_util::future::join_all;
use http::HeaderName;
use tokio::sync::oneshot;
use tracer_registry::tower::{TenantLayer, TenantSource};
use tracer_registry::{Scope, Session, TracerRegistry};
use uuid::Uuid;

use crate::support::{World, binding};
use client::{Server, get_as, header_source, path, wait_for_ended};

fn current() -> String {
    TracerRegistry::current().map_or_else(|| "untraced".to_owned(), |tracer| tracer.selector().to_string())
}

/// Creates a span on the tracer of the current scope, across an await.
async fn work(name: String) {
    let tracer = TracerRegistry::current().expect("a request is in a scope");
    tracer
        .in_span_async(name, async |_| tokio::task::yield_now().await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_of_several_tenants_each_land_in_their_own_project() {
    let tenants = ["acme", "globex", "initech"];
    let world = World::new(&tenants);
    let handler = async |Path(number): Path<usize>| {
        let before = current();
        work(format!("work {number} of {before}")).await;
        assert_eq!(current(), before);
        before
    };
    let router = Router::new().route("/{number}", get(handler));
    let server = Server::start(router.layer(header_source(&world))).await;
    let requests_sent = (0..120).map(|number| {
        let (server, tenant) = (&server, tenants[number % 3]);
        async move {
            let answer = get_as(server, tenant, &format!("/{number}")).await;
            assert_eq!(answer.text(), format!("tenant:{tenant}"));
        }
    });
    join_all(requests_sent).await;
    for (index, tenant) in tenants.iter().enumerate() {
        wait_for_ended(&world, tenant, 80);
        let project = world.project(tenant);
        let requests: Vec<_> = project.spans_named("GET").collect();
        assert_eq!((requests.len(), project.traces().len()), (40, 40));
        for number in (index..120).step_by(3) {
            let inner = world.span(tenant, &format!("work {number} of tenant:{tenant}"));
            let parent = requests
                .iter()
                .find(|span| Some(&span.span_id) == inner.parent_span_id.as_ref());
            assert_eq!(path(parent.expect("a child of its request")), format!("/{number}"));
        }
        for foreign in tenants.iter().filter(|other| other != &tenant) {
            world.assert_no_trace_of(&format!("of tenant:{foreign}"), tenant);
        }
    }
}

/// Creates a span on the tracer of the current scope, if there is one.
fn record_span(name: &'static str) {
    if let Some(tracer) = TracerRegistry::current() {
        tracer.in_span(name, |_| ());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_moved_out_of_a_request_runs_in_the_moved_scope_only() {
    /// Creates a span when dropped.
    struct SpanOnDrop;
    impl Drop for SpanOnDrop {
        fn drop(&mut self) {
            record_span("dropped branch");
        }
    }
    let handler = async || {
        let scope = Scope::current();
        let without_scope = tokio::spawn(async { current() });
        tokio::spawn(scope.scope(async { record_span("task") }))
            .await
            .expect("no panic");
        tokio::task::spawn_blocking(scope.wrap(|| record_span("blocking task")))
            .await
            .expect("no panic");
        std::thread::scope(|threads| {
            threads.spawn(scope.wrap(|| record_span("thread")));
        });
        let (sender, receiver) = oneshot::channel::<Scope>();
        assert!(sender.send(scope.clone()).is_ok());
        receiver.await.expect("sent above").run(|| record_span("message"));
        tokio::select! {
            biased;
            () = scope.scope(async { let _end = SpanOnDrop; std::future::pending().await }) => {}
            () = tokio::task::yield_now() => {}
        }
        without_scope.await.expect("no panic")
    };
    let world = World::new(&["a", "b"]);
    let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
    let ask = async |tenant| assert_eq!(get_as(&server, tenant, "/").await.text(), "untraced");
    tokio::join!(ask("a"), ask("b"), ask("a"), ask("b"));
    for tenant in ["a", "b"] {
        wait_for_ended(&world, tenant, 12);
        let project = world.project(tenant);
        for name in ["task", "blocking task", "thread", "message", "dropped branch"] {
            let parents: Vec<_> = project.spans_named(name).map(|span| &span.parent_span_id).collect();
            assert_eq!(parents.len(), 2, "{}", project.tree());
            assert_ne!(parents[0], parents[1], "{}", project.tree());
            for parent in parents {
                assert!(
                    project
                        .spans_named("GET")
                        .any(|span| Some(&span.span_id) == parent.as_ref())
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incoming_headers_select_no_parent_or_session_unless_the_binding_allows_it() {
    let remote = ("traceparent", "00-11111111111111111111111111111111-2222222222222222-01");
    let session = "33333333-3333-4333-8333-333333333333";
    let baggage = format!("session.id={session},tenant=globex;m%2Cx-tenant=globex,x-tenant=globex");
    let headers = [("x-tenant", "acme"), remote, ("baggage", baggage.as_str())];
    for is_trusted in [false, true] {
        let world = World::with(&["globex"], |builder| {
            let acme = binding("acme");
            builder.tenant(
                "acme",
                acme.trust_remote_parent(is_trusted).propagate_session_id(is_trusted),
            )
        });
        world.collector.name_project("acme", &crate::support::key_of("acme"));
        let handler = async || Session::current().map_or_else(current, |session| session.id().to_owned());
        let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
        let answer = server.get("/", &headers).await;
        assert_eq!(answer.text(), if is_trusted { session } else { "tenant:acme" });
        wait_for_ended(&world, "acme", 1);
        let span = world.span("acme", "GET");
        assert_eq!(span.parent_span_id.as_deref() == Some("2222222222222222"), is_trusted);
        assert_eq!(span.trace_id == "1".repeat(32), is_trusted);
        assert_eq!(span.session_id.as_deref(), is_trusted.then_some(session));
        assert!(world.project("globex").spans().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_span_of_another_tenant_is_no_parent_even_with_trusted_remote_parents() {
    let world = World::with(&["acme", "globex"], |builder| {
        builder.tenant("acme", binding("acme").trust_remote_parent(true))
    });
    let globex_context = world.tenant("globex").in_span("globex", |span| span.span_context());
    let (trace, span) = (globex_context.trace_id(), globex_context.span_id());
    let parent = format!("00-{trace}-{span}-01");
    let server = Server::start(
        Router::new()
            .route("/", get(async || current()))
            .layer(header_source(&world)),
    )
    .await;
    let answer = server.get("/", &[("x-tenant", "acme"), ("traceparent", &parent)]).await;
    assert_eq!(answer.text(), "tenant:acme");
    wait_for_ended(&world, "acme", 1);
    assert_eq!(world.span("acme", "GET").parent_span_id, None);
    assert_eq!(world.registry.status().propagation.foreign_parents, 1);
    world.assert_no_trace_of(&trace.to_string(), "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_per_request_is_on_its_spans_and_ends_with_it() {
    let world = World::new(&["acme"]);
    let source = TenantSource::header(HeaderName::from_static("x-tenant"));
    let layer = TenantLayer::new(world.registry.clone(), source).session(|tracer, request| {
        let path = request.uri.path();
        (path != "/health").then(|| tracer.session("request").metadata("path", path))
    });
    let handler = async |Path(name): Path<String>| work(name).await;
    let server = Server::start(Router::new().route("/{name}", get(handler)).layer(layer)).await;
    for path in ["/one", "/two", "/health"] {
        get_as(&server, "acme", path).await;
    }
    wait_for_ended(&world, "acme", 6);
    let project = world.project("acme");
    assert_eq!(world.span("acme", "health").session_id, None);
    assert_eq!(project.sessions().len(), 2);
    for session in project.sessions() {
        assert_eq!(session.name.as_deref(), Some("request"));
        let path = session.metadata["path"].as_str().expect("text");
        let spans = project.spans_of_session(&session.id);
        assert_eq!(spans.len(), 2);
        assert!(spans.iter().any(|span| span.name == path[1..]), "{}", project.tree());
        assert!(session.duration_millis.is_some(), "the session has ended: {session:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_start_one_session_id_share_a_session() {
    let world = World::new(&["acme", "globex"]);
    let source = TenantSource::header(HeaderName::from_static("x-tenant"));
    let layer = TenantLayer::new(world.registry.clone(), source).session(|tracer, request| {
        let name = format!("{}{}", tracer.selector(), request.uri.path());
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        Some(tracer.session("chat").id(id))
    });
    let handler = async |Path(name): Path<String>| work(name).await;
    let server = Server::start(Router::new().route("/{name}", get(handler)).layer(layer)).await;
    for tenant in ["acme", "acme", "globex"] {
        get_as(&server, tenant, "/17").await;
    }
    wait_for_ended(&world, "acme", 4);
    wait_for_ended(&world, "globex", 2);
    let ids = [("acme", 4), ("globex", 2)].map(|(tenant, spans)| {
        let project = world.project(tenant);
        let [session] = project.sessions() else {
            panic!("one session, not {:#?}", project.sessions());
        };
        assert_eq!(project.spans_of_session(&session.id).len(), spans);
        session.id.clone()
    });
    assert_ne!(ids[0], ids[1]);
}
