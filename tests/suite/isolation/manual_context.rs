//! Spans and remote parents made current manually through OpenTelemetry.

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, ContextGuard};

use super::pair;
use crate::support::World;

/// Makes a span current as third-party code does, without entering its tracer.
fn attach(span: impl opentelemetry::trace::Span + Send + Sync + 'static) -> ContextGuard {
    Context::current_with_span(span).attach()
}

#[test]
fn a_manually_attached_span_in_a_session_is_found_beyond_another_tracers_session() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let third_party = b.tracer("third-party");
    let (of_a, of_b) = (a.session("of-a").start(), b.session("of-b").start());
    let in_b = of_b.enter();
    let outer = attach(third_party.start("b-outer"));
    let in_a = of_a.enter();
    let middle = attach(a.start_span("a-middle"));
    third_party.start("b-manual").end();
    b.in_span("b-by-closure", |_| ());
    drop(middle);
    drop(in_a);
    drop(outer);
    drop(in_b);
    world.flush();
    for name in ["b-manual", "b-by-closure"] {
        let span = world.span("b", name);
        assert_eq!(
            span.parent_span_id.as_ref(),
            Some(&world.span("b", "b-outer").span_id),
            "{name}"
        );
        assert_eq!(span.session_id.as_deref(), Some(of_b.id()), "{name}");
    }
    assert_eq!(world.span("a", "a-middle").parent_span_id, None);
    world.assert_no_trace_of(of_b.id(), "a");
    world.assert_no_trace_of(of_a.id(), "b");
}

#[test]
fn a_manually_attached_ancestor_outside_any_scope_is_found_beyond_another_tracer() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let outer = attach(b.start_span("b-outer"));
    a.in_span("a-middle", |_| {
        b.start_span("b-started").end();
        b.in_span("b-inner", |_| a.in_span("a-inner", |_| ()));
    });
    drop(outer);
    world.flush();
    let parent = |tenant: &str, name: &str| world.span(tenant, name).parent_span_id.clone();
    let outer = Some(world.span("b", "b-outer").span_id.clone());
    assert_eq!(
        (parent("b", "b-started"), parent("b", "b-inner")),
        (outer.clone(), outer)
    );
    assert_eq!(parent("a", "a-middle"), None);
    assert_eq!(
        parent("a", "a-inner"),
        Some(world.span("a", "a-middle").span_id.clone())
    );
}

#[test]
fn a_span_stays_the_parent_if_another_tracers_span_is_attached_over_it() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let session = b.session("of-b").start();
    let in_session = session.enter();
    b.in_span("b-outer", |_| {
        let covered = attach(a.start_span("a-over"));
        b.start_span("b-started").end();
        b.in_span("b-inner", |_| {
            a.in_span("a-inner", |_| b.start_span("b-innermost").end());
        });
        drop(covered);
        b.start_span("b-after").end();
    });
    drop(in_session);
    world.flush();
    let parent = |name: &str| world.span("b", name).parent_span_id.clone();
    let outer = Some(world.span("b", "b-outer").span_id.clone());
    for name in ["b-started", "b-inner", "b-after"] {
        assert_eq!(parent(name), outer, "{name}");
        assert_eq!(
            world.span("b", name).session_id.as_deref(),
            Some(session.id()),
            "{name}"
        );
    }
    assert_eq!(parent("b-innermost"), Some(world.span("b", "b-inner").span_id.clone()));
    assert_eq!(world.span("a", "a-over").parent_span_id, None);
    assert_eq!(
        world.span("a", "a-inner").parent_span_id,
        Some(world.span("a", "a-over").span_id.clone())
    );
    world.assert_no_trace_of(session.id(), "a");
}

#[test]
fn a_remote_parent_is_used_only_if_the_binding_trusts_it() {
    let world = World::with(&["trusts", "doubts"], |builder| {
        builder.tenant("trusts", crate::support::binding("trusts").trust_remote_parent(true))
    });
    let (trusts, doubts) = (world.tenant("trusts"), world.tenant("doubts"));
    let remote = SpanContext::new(
        TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        SpanId::from(0x00f0_67aa_0ba9_02b7),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let incoming = Context::new().with_remote_span_context(remote.clone()).attach();
    trusts.start_span("trusted").end();
    doubts.in_span("doubted", |_| ());
    let in_trusts = trusts.enter();
    doubts.in_span("between", |_| trusts.start_span("trusted-nested").end());
    drop(in_trusts);
    drop(incoming);
    world.flush();
    for name in ["trusted", "trusted-nested"] {
        let span = world.span("trusts", name);
        assert_eq!(span.parent_span_id, Some(remote.span_id().to_string()), "{name}");
        assert_eq!(span.trace_id, remote.trace_id().to_string(), "{name}");
    }
    for name in ["doubted", "between"] {
        assert_eq!(world.span("doubts", name).parent_span_id, None, "{name}");
    }
    world.assert_no_trace_of(&remote.trace_id().to_string(), "doubts");
}

#[test]
fn an_outer_session_is_found_beyond_a_manually_attached_span_of_its_tracer() {
    let world = World::new(&["a", "b", "c"]);
    let (a, b, c) = (world.tenant("a"), world.tenant("b"), world.tenant("c"));
    let session = b.session("of-b").start();
    let in_b = session.enter();
    let in_a = a.enter();
    let covering = attach(b.start_span("b-manual"));
    c.in_span("c-span", |_| {
        b.start_span("b-started").end();
        b.in_span("b-inner", |_| ());
    });
    drop(covering);
    drop(in_a);
    drop(in_b);
    world.flush();
    for name in ["b-manual", "b-started", "b-inner"] {
        assert_eq!(
            world.span("b", name).session_id.as_deref(),
            Some(session.id()),
            "{name}"
        );
    }
    for name in ["b-started", "b-inner"] {
        let parent = world.span("b", name).parent_span_id.clone();
        assert_eq!(parent, Some(world.span("b", "b-manual").span_id.clone()), "{name}");
    }
    for other in ["a", "c"] {
        world.assert_no_trace_of(session.id(), other);
    }
}

#[test]
fn a_manually_attached_span_is_found_beyond_another_scope_and_attached_span() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let in_a = a.enter();
    let outer = attach(a.start_span("a-outer"));
    let in_b = b.enter();
    let in_a_again = a.enter();
    let covering = attach(b.start_span("b-over"));
    a.start_span("a-started").end();
    a.in_span("a-inner", |_| ());
    drop(covering);
    drop(in_a_again);
    drop(in_b);
    drop(outer);
    drop(in_a);
    world.flush();
    for name in ["a-started", "a-inner"] {
        let parent = world.span("a", name).parent_span_id.clone();
        assert_eq!(parent, Some(world.span("a", "a-outer").span_id.clone()), "{name}");
    }
    assert_eq!(world.span("b", "b-over").parent_span_id, None);
}

#[test]
fn a_remote_span_in_another_tracers_scope_is_no_parent_even_if_trusted() {
    let world = World::with(&["a", "b"], |builder| {
        let trusting = |name: &str| crate::support::binding(name).trust_remote_parent(true);
        builder.tenant("a", trusting("a")).tenant("b", trusting("b"))
    });
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let headers = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    a.extract(&headers).run(|| {
        a.start_span("a-started").end();
        b.start_span("b-started").end();
        b.in_span("b-inner", |_| ());
    });
    world.flush();
    let remote_parent = world.span("a", "a-started").parent_span_id.clone();
    assert_eq!(remote_parent.as_deref(), Some("00f067aa0ba902b7"));
    for name in ["b-started", "b-inner"] {
        assert_eq!(world.span("b", name).parent_span_id, None, "{name}");
    }
    world.assert_no_trace_of("0af7651916cd43dd8448eb211c80319c", "b");
}
