//! OpenTelemetry's globals, each test in a process of its own: a process has one of them.
#![expect(clippy::disallowed_methods, reason = "what third parties call")]

use std::collections::HashMap;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tracer_registry::status::DropReason;
use tracer_registry::{Scope, Selector, TracerRegistry};

use crate::child::is_child;
use crate::isolation::attached::Full;
use crate::routing::assert_chain;
use crate::support::{LONG, World, binding};

type Headers = HashMap<String, String>;

fn is_alone(test: &str) -> bool {
    is_child::<&str>(&format!("global::{test}"), &[])
}

/// A driver as it is written for everybody.
fn query() {
    let driver = global::tracer("driver");
    driver.in_span("connect", |_| driver.start("query").end());
}

/// An instrumented client.
fn request() -> Headers {
    let client = global::tracer("client");
    let span = client.start("GET");
    let cx = Context::current_with_span(span);
    let mut headers = Headers::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&cx, &mut headers));
    headers
}

#[test]
fn code_that_asks_the_global_provider_follows_the_scope() {
    if !is_alone("code_that_asks_the_global_provider_follows_the_scope") {
        return;
    }
    let world = World::new(&["a", "b"]);
    assert!(TracerRegistry::global().is_none());
    world.registry.install_global();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    a.in_span("a", |_| {
        query();
        b.in_span("b", |_| query());
    });
    let scope = a.in_span("for a thread", |_| Scope::current());
    std::thread::spawn(move || scope.run(query)).join().expect("no panic");
    std::thread::spawn(query).join().expect("no panic");
    assert_eq!(world.registry.status().unrouted.spans, 2, "the thread in no scope");
    world.flush();
    assert_chain(&world, "b", &["b", "connect", "query"]);
    assert_chain(&world, "a", &["a", "connect", "query"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (6, 3));
    world.assert_no_trace_of(&world.span("a", "a").trace_id, "b");

    assert!(world.registry.shutdown(LONG).is_complete());
    a.in_span("after", |_| query());
    query();
    let of_a = world.status("a").spans;
    assert_eq!(of_a.dropped[&DropReason::AfterShutdown], 3);
    assert_eq!(world.registry.status().unrouted.spans, 4);
}

#[test]
fn the_default_and_the_registry_that_was_installed_last_hold() {
    if !is_alone("the_default_and_the_registry_that_was_installed_last_hold") {
        return;
    }
    let first = World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a")));
    let second = World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a")));
    // They are there, so nobody waits for them.
    let of_both = [first.tenant("a"), second.tenant("a")];
    first.registry.install_global();
    query();
    second.registry.install_global();
    query();
    // Scopes are those of whichever registry.
    first.tenant("a").in_span("in the first", |_| query());
    for world in [&first, &second] {
        world.flush();
        assert_eq!(world.registry.status().unrouted.spans, 0);
    }
    assert_eq!((first.names("a").len(), second.names("a").len()), (5, 2));
    assert!(TracerRegistry::global().is_some());
    // Nothing of this keeps a registry: its end sends what is left, here nothing.
    drop((second, of_both));
    assert!(TracerRegistry::global().is_none());
    query();
    assert!(request().is_empty());
    assert_eq!(
        first.registry.status().unrouted.spans,
        0,
        "the first one is not asked again"
    );
}

#[test]
fn headers_by_the_global_propagator_are_those_of_the_scopes_tracer_alone() {
    if !is_alone("headers_by_the_global_propagator_are_those_of_the_scopes_tracer_alone") {
        return;
    }
    let world = World::new(&["a", "b"]);
    world.registry.install_global();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    assert!(request().is_empty(), "in no scope");
    let (of_a, of_b, again) = a.in_span("a", |_| {
        let with_baggage = Context::current_with_baggage([KeyValue::new("who", "a-canary")]).attach();
        let of_b = b.in_span("b", |_| request());
        let of_a = request();
        drop(with_baggage);
        // A span of a's, made current by hand in b's scope.
        let span = a.start_span("by hand");
        let again = b.in_span("b again", |_| {
            let cx = Context::current_with_span(span);
            let mut headers = Headers::new();
            global::get_text_map_propagator(|propagator| propagator.inject_context(&cx, &mut headers));
            headers
        });
        (of_a, of_b, again)
    });
    world.flush();
    let (trace_of_a, trace_of_b) = (&world.span("a", "a").trace_id, &world.span("b", "b").trace_id);
    assert!(of_a["traceparent"].contains(trace_of_a) && of_a["traceparent"].contains(&world.span("a", "GET").span_id));
    assert_eq!(of_a["baggage"], "who=a-canary");
    assert!(
        of_b["traceparent"].contains(trace_of_b) && !of_b.contains_key("baggage"),
        "{of_b:?}"
    );
    assert!(
        again["traceparent"].contains(&world.span("b", "b again").span_id),
        "{again:?}"
    );
    world.assert_no_trace_of("a-canary", "b");
}

#[test]
fn headers_that_come_in_by_the_global_propagator_choose_nothing_but_a_parent_that_is_trusted() {
    if !is_alone("headers_that_come_in_by_the_global_propagator_choose_nothing_but_a_parent_that_is_trusted") {
        return;
    }
    let world = World::with(&["a", "b"], |builder| {
        builder.tenant("a", binding("a").trust_remote_parent(true))
    });
    world.registry.install_global();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let headers: Headers = [
        ("traceparent".to_owned(), format!("00-{trace}-{span}-01")),
        (
            "baggage".to_owned(),
            "tenant=b;m%2Csession.id=00000000-0000-4000-8000-000000000000,session.id=00000000-0000-4000-8000-000000000000".to_owned(),
        ),
    ]
    .into();
    let extract = || global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    // Before it is known whose request it is.
    let incoming = extract();
    assert!(Scope::from(incoming.clone()).tracer().is_none() && incoming.baggage().is_empty());
    let current = incoming.attach();
    query();
    a.in_span("a", |_| query());
    b.in_span("b", |_| query());
    drop(current);
    // In a scope, whose tracer it stays.
    let in_a = a.enter();
    let cx = extract();
    assert!(Scope::from(cx.clone()).tracer().expect("a scope").same_tracer(&a));
    let (value, metadata) = cx.baggage().get_with_metadata("tenant").expect("it came in");
    assert_eq!((value.as_str(), metadata.as_str(), cx.baggage().len()), ("b", "", 1));
    let current = cx.attach();
    a.start_span("a in its scope").end();
    drop((current, in_a));
    let in_b = b.enter();
    let current = extract().attach();
    assert!(Scope::current().tracer().expect("a scope").same_tracer(&b));
    b.start_span("b in its scope").end();
    drop((current, in_b));

    assert_eq!(world.registry.status().unrouted.spans, 2);
    world.flush();
    for name in ["a", "a in its scope"] {
        assert_eq!(world.span("a", name).parent_span_id.as_deref(), Some(span));
        assert_eq!(world.span("a", name).trace_id, trace);
    }
    for name in ["b", "b in its scope"] {
        assert_eq!(world.span("b", name).parent_span_id, None);
    }
    world.assert_no_trace_of("00000000-0000-4000-8000-000000000000", "b");
    world.assert_no_trace_of("00000000-0000-4000-8000-000000000000", "a");
}

#[test]
fn past_the_limit_of_attached_contexts_the_globals_take_nothing_from_the_scope_that_stays_current() {
    if !is_alone("past_the_limit_of_attached_contexts_the_globals_take_nothing_from_the_scope_that_stays_current") {
        return;
    }
    let world = World::new(&["a", "b"]);
    world.registry.install_global();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let inject = || {
        let mut headers = Headers::new();
        global::get_text_map_propagator(|propagator| propagator.inject(&mut headers));
        headers
    };
    let came: Headers = [("baggage".to_owned(), "plan=free".to_owned())].into();
    let extract = || global::get_text_map_propagator(|propagator| propagator.extract(&came));
    a.in_span("a", |_| {
        let full = Full::new();
        let in_b = b.enter();
        query();
        assert_eq!(inject(), Headers::new());
        let cx = extract();
        assert!(Scope::from(cx.clone()).tracer().is_none() && cx.baggage().is_empty());
        drop(in_b);
        assert!(inject().contains_key("traceparent"));
        drop(full);
    });
    assert_eq!(world.registry.status().unrouted.spans, 2);
    world.flush();
    assert_eq!((world.names("a").len(), world.names("b").len()), (1, 0));
}
