//! Spans created outside any scope belong to the default tracer, but are no scope.

use opentelemetry::Context;
use opentelemetry::trace::{Tracer, TracerProvider};
use tracer_registry::{Selector, TracerHandle, TracerRegistry, trace};
use tracing::dispatcher::{self, DefaultGuard};
use tracing::{Span, info, info_span};

use super::{dispatch, events, unrouted};
use crate::routing::assert_chain;
use crate::support::World;

/// Creates a tenant, a default that exists already, and a subscriber for this thread.
fn with_default() -> (World, TracerHandle, TracerHandle, DefaultGuard) {
    let world = World::with(&["a", "default"], |builder| {
        builder.routing_default(&Selector::tenant("default"))
    });
    let (a, default) = (world.tenant("a"), world.tenant("default"));
    let guard = dispatcher::set_default(&dispatch(&world));
    (world, a, default, guard)
}

#[test]
fn the_default_does_not_enter_a_scope_through_its_spans() {
    let (world, a, _default, _subscriber) = with_default();
    let server = info_span!("server");
    server.in_scope(|| {
        info_span!("middleware").in_scope(|| {
            info!("to the middleware");
            let _request = a.enter();
            // As `in_current_span` does.
            Span::current().in_scope(|| info_span!("of a").in_scope(|| info!("to a")));
            info_span!(parent: &server, "of a as well").in_scope(|| ());
        });
        let child = info_span!(parent: &server, "named parent");
        a.in_span("a", |_| child.in_scope(|| info_span!("below a").in_scope(|| ())));
    });
    drop(server);
    assert_eq!(unrouted(&world), (0, 0));
    world.flush();
    assert_chain(&world, "default", &["server", "middleware"]);
    assert_chain(&world, "default", &["server", "named parent"]);
    assert_eq!(events(&world.span("default", "middleware")), ["to the middleware"]);
    assert_eq!(world.names("default").len(), 3);
    assert_chain(&world, "a", &["of a"]);
    assert_chain(&world, "a", &["of a as well"]);
    assert_chain(&world, "a", &["a", "below a"]);
    assert_eq!(events(&world.span("a", "of a")), ["to a"]);
    world.assert_no_trace_of(&world.span("default", "server").trace_id, "a");
}

#[test]
fn a_request_of_the_default_tracer_keeps_its_session_and_span() {
    let (world, _a, default, _subscriber) = with_default();
    let session = default.session("s").start();
    info_span!("server").in_scope(|| {
        info_span!("middleware").in_scope(|| {
            let middleware = Span::current();
            let _session = session.enter();
            default.in_span("request", |_| {
                middleware.in_scope(|| info_span!("work").in_scope(|| ()));
                info_span!(parent: &middleware, "beside").in_scope(|| {
                    let current = TracerRegistry::current();
                    assert!(
                        current.is_some_and(|current| current.same_tracer(&default)),
                        "the span was created in a scope"
                    );
                });
            });
        });
    });
    world.flush();
    assert_chain(&world, "default", &["server", "middleware", "request", "work"]);
    assert_chain(&world, "default", &["server", "middleware", "beside"]);
    for (name, is_in) in [("middleware", false), ("request", true), ("work", true)] {
        let span = world.span("default", name);
        let session_id = span.attributes.get("honeyhive.session_id");
        assert_eq!(session_id.is_some_and(|id| *id == session.id()), is_in, "{name}");
    }
}

#[trace]
fn names_no_tracer() {}

#[test]
fn inside_a_span_of_the_default_no_tracer_is_current_and_routed_spans_are_its_children() {
    let (world, _a, default, _subscriber) = with_default();
    let driver = world.registry.routing_provider().tracer("driver");
    info_span!("server").in_scope(|| {
        assert!(TracerRegistry::current().is_none());
        names_no_tracer();
        driver.in_span("query", |_| ());
        let entered = default.enter();
        assert!(TracerRegistry::current().is_some());
        drop(entered);
        assert!(TracerRegistry::current().is_none());
    });
    world.flush();
    assert_chain(&world, "default", &["server", "query"]);
    assert_eq!(world.names("default").len(), 2);
}

#[test]
fn exiting_a_span_that_did_not_change_the_scope_restores_nothing() {
    let (world, a, _default, _subscriber) = with_default();
    let server = info_span!("server");
    server.in_scope(|| {
        a.in_span("a", |_| server.in_scope(|| ()));
        info_span!("still of the server").in_scope(|| ());
    });
    drop(server);
    world.flush();
    assert_chain(&world, "default", &["server", "still of the server"]);
}

/// Creates spans in each way that needs no tenant.
fn create_all_kinds(world: &World, server: &Span) {
    let driver = world.registry.routing_provider().tracer("driver");
    info_span!("s").in_scope(|| info_span!("below").in_scope(|| ()));
    info_span!(parent: None, "root").in_scope(|| ());
    info_span!(parent: server, "named parent").in_scope(|| ());
    server.in_scope(|| info_span!("re-entered").in_scope(|| info!("event")));
    driver.in_span("query", |_| driver.start("inner"));
    drop(driver.start_with_context("given", &Context::new()));
}

#[trace(registry = world.registry, tenant = "hooli")]
fn for_unknown_tenant(world: &World, server: &Span) {
    create_all_kinds(world, server);
}

#[test]
fn work_for_a_tracer_that_cannot_be_resolved_does_not_use_the_default() {
    let (world, _a, _default, _subscriber) = with_default();
    let server = info_span!("server");
    server.in_scope(|| for_unknown_tenant(&world, &server));
    info_span!("afterwards").in_scope(|| ());
    drop(server);
    assert_eq!(unrouted(&world), (8, 0));
    world.flush();
    let mut names = world.names("default");
    names.sort();
    assert_eq!(names, ["afterwards", "server"]);
    assert_eq!(events(&world.span("default", "server")), [""; 0]);
}
