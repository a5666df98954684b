//! Trace ids that come back to the registry: in headers, in links, and as remote span contexts.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceState, Tracer, TracerProvider,
};
use tracer_registry::{Selector, TracerHandle};

use crate::support::{World, binding};

type Headers = HashMap<String, String>;

/// Two tenants that trust remote parents.
fn world() -> World {
    World::with(&["a", "b"], |builder| {
        let trusting = |name| binding(name).trust_remote_parent(true);
        builder.tenant("a", trusting("a")).tenant("b", trusting("b"))
    })
}

/// Starts a span. Returns the headers of a request from it, and its span context.
fn outgoing(tracer: &TracerHandle, name: &'static str) -> (Headers, SpanContext) {
    tracer.in_span(name, |span| {
        let mut headers = Headers::new();
        tracer.inject(&mut headers);
        (headers, span.span_context())
    })
}

fn with_remote_flag(span: &SpanContext, remote: bool) -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "canary-of-a")]).expect("valid");
    SpanContext::new(span.trace_id(), span.span_id(), TraceFlags::SAMPLED, remote, state)
}

/// Returns a span of another process in the same trace.
fn remote_child(span: &SpanContext) -> SpanContext {
    let span_id = SpanId::from(0x0123_4567_89ab_cdef);
    SpanContext::new(span.trace_id(), span_id, TraceFlags::SAMPLED, true, TraceState::NONE)
}

#[test]
fn a_returning_remote_span_is_no_parent_for_another_tenant() {
    let world = world();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (headers, of_a) = outgoing(&a, "a");
    let refused = || world.registry.status().propagation.foreign_parents;
    // From headers.
    b.extract(&headers).run(|| {
        assert_eq!(refused(), 1);
        b.start_span("b extracted").end();
        let mut further = Headers::new();
        b.inject(&mut further);
        assert_eq!(further, Headers::new());
    });
    // As a manual remote context, current and explicit, with each flag and from another process.
    let third_party = b.tracer("third-party");
    for remote in [
        with_remote_flag(&of_a, true),
        with_remote_flag(&of_a, false),
        remote_child(&of_a),
    ] {
        let cx = Context::new().with_remote_span_context(remote);
        third_party.start_with_context("b given", &cx).end();
        let _current = cx.attach();
        third_party.start("b by the trait").end();
        b.in_span("b manual", |_| ());
        let _entered = b.enter();
        world
            .registry
            .routing_provider()
            .tracer("driver")
            .start("b routed")
            .end();
    }
    assert!(refused() > 1);
    // The tracer's own outer span is the parent, as without the headers.
    b.in_span("b outer", |_| b.extract(&headers).run(|| b.start_span("b inner").end()));
    world.flush();
    let of_b = world.project("b");
    for span in of_b.spans() {
        let parent = (span.name == "b inner").then(|| world.span("b", "b outer").span_id.clone());
        assert_eq!(span.parent_span_id, parent, "{}", span.name);
        assert_ne!(span.trace_id, of_a.trace_id().to_string(), "{}", span.name);
    }
    assert_eq!(of_b.spans().len(), 1 + 4 * 3 + 2);
    for canary in [&of_a.trace_id().to_string(), &of_a.span_id().to_string(), "canary-of-a"] {
        world.assert_no_trace_of(canary, "b");
    }
}

#[test]
fn a_link_to_a_trace_of_another_tenant_is_dropped_and_counted() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (_, of_a) = outgoing(&a, "a");
    let links = [
        with_remote_flag(&of_a, true),
        with_remote_flag(&of_a, false),
        remote_child(&of_a),
    ];
    let third_party = b.tracer("third-party");
    let at_start = links.iter().map(|to| Link::new(to.clone(), Vec::new(), 0)).collect();
    let builder = third_party.span_builder("b").with_links(at_start);
    let mut span = builder.start(&third_party);
    for to in &links {
        span.add_link(to.clone(), Vec::new());
    }
    let elsewhere = SpanContext::new(
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c.into(),
        SpanId::from(7),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    span.add_link(elsewhere.clone(), Vec::new());
    span.end();
    world.flush();
    let span = world.span("b", "b");
    let kept: Vec<&str> = span.links.iter().map(|link| link.trace_id.as_str()).collect();
    assert_eq!(kept, [elsewhere.trace_id().to_string()]);
    assert_eq!(world.registry.status().propagation.foreign_links, 6);
    world.assert_no_trace_of(&of_a.trace_id().to_string(), "b");
    world.assert_no_trace_of("canary-of-a", "b");
}

#[test]
fn a_returning_trace_continues_for_its_selector_even_in_a_recreated_tracer() {
    let world = world();
    let a = world.tenant("a");
    let (headers, of_a) = outgoing(&a, "a");
    let link = |name: &'static str, tracer: &TracerHandle| {
        let mut span = tracer.start_span(name);
        span.add_link(remote_child(&of_a), Vec::new());
        span.end();
    };
    a.extract(&headers).run(|| link("pooled", &a));
    let dedicated = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    dedicated.extract(&headers).run(|| link("dedicated", &dedicated));
    assert!(world.registry.remove(Selector::tenant("a")).expect("a selector"));
    let recreated = world.tenant("a");
    assert!(!recreated.same_tracer(&a));
    recreated.extract(&headers).run(|| link("recreated", &recreated));
    // To another registry, the trace comes from another process.
    let other = self::world();
    other
        .tenant("b")
        .extract(&headers)
        .run(|| other.tenant("b").start_span("elsewhere").end());
    world.flush();
    other.flush();
    for name in ["pooled", "dedicated", "recreated"] {
        let span = world.span("a", name);
        assert_eq!(span.trace_id, of_a.trace_id().to_string(), "{name}");
        assert_eq!(span.parent_span_id, Some(of_a.span_id().to_string()), "{name}");
        assert_eq!(span.links.len(), 1, "{name}");
    }
    assert_eq!(other.span("b", "elsewhere").trace_id, of_a.trace_id().to_string());
    let counted = [&world, &other].map(|world| world.registry.status().propagation);
    assert!(
        counted
            .iter()
            .all(|counted| counted.foreign_parents + counted.foreign_links == 0),
        "{counted:?}"
    );
}
