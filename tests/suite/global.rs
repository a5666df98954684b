//! OpenTelemetry's global provider and propagator. Each test runs in a child process.
#![expect(clippy::disallowed_methods, reason = "third-party code calls the globals")]

use std::collections::HashMap;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tracer_registry::status::DropReason;
use tracer_registry::{Scope, Selector, TracerRegistry};

use crate::child_process::is_child;
use crate::isolation::attach_limit::FullContextStack;
use crate::routing::assert_chain;
use crate::support::{LONG, World, binding};

type Headers = HashMap<String, String>;

fn is_global_child(test: &str) -> bool {
    is_child::<&str>(&format!("global::{test}"), &[])
}

/// Third-party driver code that uses the global provider.
fn query() {
    let driver = global::tracer("driver");
    driver.in_span("connect", |_| driver.start("query").end());
}

/// Third-party HTTP client that uses the global provider and propagator.
fn request() -> Headers {
    let client = global::tracer("client");
    let span = client.start("GET");
    let cx = Context::current_with_span(span);
    let mut headers = Headers::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&cx, &mut headers));
    headers
}

#[test]
fn code_that_uses_the_global_provider_follows_the_scope() {
    if !is_global_child("code_that_uses_the_global_provider_follows_the_scope") {
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
    assert_eq!(world.registry.status().unrouted.spans, 2, "the thread without a scope");
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
fn the_registry_installed_last_and_its_default_apply() {
    if !is_global_child("the_registry_installed_last_and_its_default_apply") {
        return;
    }
    let first = World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a")));
    let second = World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a")));
    // Created first, so that the default is resolved at once.
    let of_both = [first.tenant("a"), second.tenant("a")];
    first.registry.install_global();
    query();
    second.registry.install_global();
    query();
    // A scope of the other registry still applies.
    first.tenant("a").in_span("in the first", |_| query());
    for world in [&first, &second] {
        world.flush();
        assert_eq!(world.registry.status().unrouted.spans, 0);
    }
    assert_eq!((first.names("a").len(), second.names("a").len()), (5, 2));
    assert!(TracerRegistry::global().is_some());
    // The globals do not keep the registry alive.
    drop((second, of_both));
    assert!(TracerRegistry::global().is_none());
    query();
    assert!(request().is_empty());
    assert_eq!(
        first.registry.status().unrouted.spans,
        0,
        "the first registry is not used again"
    );
}

#[test]
fn headers_of_the_global_propagator_carry_only_the_tracer_of_the_scope() {
    if !is_global_child("headers_of_the_global_propagator_carry_only_the_tracer_of_the_scope") {
        return;
    }
    let world = World::new(&["a", "b"]);
    world.registry.install_global();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    assert!(request().is_empty(), "no headers outside a scope");
    let (of_a, of_b, manual) = a.in_span("a", |_| {
        let with_baggage = Context::current_with_baggage([KeyValue::new("who", "a-canary")]).attach();
        let of_b = b.in_span("b", |_| request());
        let of_a = request();
        drop(with_baggage);
        // A span of a, made current manually in b's scope.
        let span = a.start_span("manual span");
        let manual = b.in_span("b manual", |_| {
            let cx = Context::current_with_span(span);
            let mut headers = Headers::new();
            global::get_text_map_propagator(|propagator| propagator.inject_context(&cx, &mut headers));
            headers
        });
        (of_a, of_b, manual)
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
        manual["traceparent"].contains(&world.span("b", "b manual").span_id),
        "{manual:?}"
    );
    world.assert_no_trace_of("a-canary", "b");
}

#[test]
fn incoming_headers_choose_only_a_trusted_parent() {
    if !is_global_child("incoming_headers_choose_only_a_trusted_parent") {
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
    // Outside a scope.
    let incoming = extract();
    assert!(Scope::from(incoming.clone()).tracer().is_none() && incoming.baggage().is_empty());
    let current = incoming.attach();
    query();
    a.in_span("a", |_| query());
    b.in_span("b", |_| query());
    drop(current);
    // In a scope; its tracer does not change.
    let in_a = a.enter();
    let cx = extract();
    assert!(Scope::from(cx.clone()).tracer().expect("a scope").same_tracer(&a));
    let (value, metadata) = cx.baggage().get_with_metadata("tenant").expect("extracted");
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
fn globals_ignore_the_current_scope_beyond_the_limit_of_attached_contexts() {
    if !is_global_child("globals_ignore_the_current_scope_beyond_the_limit_of_attached_contexts") {
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
    let incoming: Headers = [("baggage".to_owned(), "plan=free".to_owned())].into();
    let extract = || global::get_text_map_propagator(|propagator| propagator.extract(&incoming));
    a.in_span("a", |_| {
        let full = FullContextStack::new();
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
