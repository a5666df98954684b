//! Spans that were made in no scope and are the default's: they are somebody's, and still no scope.

use opentelemetry::Context;
use opentelemetry::trace::{Tracer, TracerProvider};
use tracer_registry::{Selector, TracerHandle, TracerRegistry, trace};
use tracing::dispatcher::{self, DefaultGuard};
use tracing::{Span, info, info_span};

use super::{dispatch, events, unrouted};
use crate::routing::assert_chain;
use crate::support::World;

/// A tenant and a default, which is there already, and a subscriber for this thread.
fn with_default() -> (World, TracerHandle, TracerHandle, DefaultGuard) {
    let world = World::with(&["a", "default"], |builder| {
        builder.routing_default(&Selector::tenant("default"))
    });
    let (a, default) = (world.tenant("a"), world.tenant("default"));
    let guard = dispatcher::set_default(&dispatch(&world));
    (world, a, default, guard)
}

#[test]
fn a_span_under_one_that_was_made_in_no_scope_brings_the_default_into_no_scope() {
    let (world, a, _default, _subscriber) = with_default();
    let server = info_span!("server");
    server.in_scope(|| {
        info_span!("middleware").in_scope(|| {
            info!("to the middleware");
            let _request = a.enter();
            // What `in_current_span` does.
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
fn a_request_of_the_defaults_own_tracer_keeps_its_session_and_its_span() {
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
                        "it was made in a scope"
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
        let of = span.attributes.get("honeyhive.session_id");
        assert_eq!(of.is_some_and(|id| *id == session.id()), is_in, "{name}");
    }
}

#[trace]
fn names_no_tracer() {}

#[test]
fn inside_the_defaults_span_code_runs_for_nobody_and_what_is_routed_is_its_child() {
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
fn leaving_a_span_that_changed_nothing_takes_back_nothing() {
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

/// Makes a span in every way that knows no tenants.
fn make_everything(world: &World, server: &Span) {
    let driver = world.registry.routing_provider().tracer("driver");
    info_span!("s").in_scope(|| info_span!("below").in_scope(|| ()));
    info_span!(parent: None, "root").in_scope(|| ());
    info_span!(parent: server, "named parent").in_scope(|| ());
    server.in_scope(|| info_span!("re-entered").in_scope(|| info!("event")));
    driver.in_span("query", |_| driver.start("inner"));
    drop(driver.start_with_context("given", &Context::new()));
}

#[trace(registry = world.registry, tenant = "hooli")]
fn for_somebody_who_cannot_be_had(world: &World, server: &Span) {
    make_everything(world, server);
}

#[test]
fn work_for_a_tracer_that_cannot_be_had_goes_to_no_default() {
    let (world, _a, _default, _subscriber) = with_default();
    let server = info_span!("server");
    server.in_scope(|| for_somebody_who_cannot_be_had(&world, &server));
    info_span!("afterwards").in_scope(|| ());
    drop(server);
    assert_eq!(unrouted(&world), (8, 0));
    world.flush();
    let mut names = world.names("default");
    names.sort();
    assert_eq!(names, ["afterwards", "server"]);
    assert_eq!(events(&world.span("default", "server")), [""; 0]);
}
