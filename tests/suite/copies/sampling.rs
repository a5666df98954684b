//! Each tracer's ratio on the same trace ids.

use std::collections::BTreeSet;

use opentelemetry::Context;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};

use super::{OPERATIONS, assert_delivered, ledger_of, operations};
use crate::support::{World, binding};

const TRACES: usize = 400;

fn world(source: f64, target: f64) -> World {
    World::with(&["a", "ops"], |builder| {
        let tenant = binding("a").sampling_ratio(source).trust_remote_parent(true);
        builder
            .tenant("a", tenant.also(&operations()))
            .environment("operations", binding("ops").sampling_ratio(target))
    })
}

/// Whether the SDK's sampler takes a trace: it compares the last 63 bits of the id.
fn is_sampled(trace: TraceId, ratio: f64) -> bool {
    let low = u64::from_be_bytes(trace.to_bytes()[8..].try_into().expect("8 bytes"));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "as the SDK does"
    )]
    let bound = (ratio * (1_u64 << 63) as f64) as u64;
    ratio >= 1.0 || low >> 1 < bound
}

#[test]
fn each_tracer_gets_whole_traces_by_its_own_ratio() {
    for (source, target) in [
        (0.0, 1.0),
        (1.0, 0.0),
        (0.25, 0.75),
        (0.75, 0.25),
        (1.0, 0.5),
        (0.5, 1.0),
        (0.0, 0.0),
    ] {
        let world = world(source, target);
        let a = world.tenant("a");
        let mut expected = [BTreeSet::new(), BTreeSet::new()];
        for _ in 0..TRACES {
            let (context, cx) = a.in_span("root", |root| {
                let context = root.context().span().span_context().clone();
                (context, root.context().clone())
            });
            // A child that starts after its parent ended is in the trace too.
            let late = a.tracer("library").start_with_context("child", &cx);
            assert_eq!(late.span_context().trace_id(), context.trace_id());
            let (trace, is_propagated) = (context.trace_id(), context.is_sampled());
            assert_eq!(
                is_propagated,
                is_sampled(trace, source),
                "the flag is the source's decision"
            );
            for (expected, ratio) in expected.iter_mut().zip([source, target]) {
                expected.extend(is_sampled(trace, ratio).then(|| trace.to_string()));
            }
        }
        world.flush();
        for (project, expected) in ["a", "ops"].into_iter().zip(expected) {
            let spans = world.project(project).spans().to_vec();
            let traces: BTreeSet<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
            assert_eq!(traces, expected, "{source} {target} {project}");
            assert_eq!(spans.len(), 2 * expected.len());
            assert!(
                spans.iter().all(|span| span.flags & 1 == 1),
                "sampled, as the receiver sees it"
            );
        }
        for (selector, project) in [("tenant:a", "a"), (OPERATIONS, "ops")] {
            assert_delivered(&world, selector, project);
        }
    }
}

#[test]
fn a_remote_parent_that_is_not_sampled_is_recorded_for_none_and_a_sampled_one_by_the_targets_ratio() {
    for (target, is_remote_sampled) in [(1.0, false), (1.0, true), (0.0, true)] {
        let world = world(0.5, target);
        let a = world.tenant("a");
        let flags = if is_remote_sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        for number in 1..=50_u64 {
            let trace =
                TraceId::from(u128::from(number) << 64 | u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let remote = SpanContext::new(trace, SpanId::from(number), flags, true, TraceState::NONE);
            let cx = Context::new().with_remote_span_context(remote);
            let tracer = a.tracer("library");
            let server = tracer.start_with_context("server", &cx);
            let cx = Context::new().with_span(server);
            let mut child = tracer.start_with_context("child", &cx);
            assert_eq!(child.span_context().is_sampled(), is_remote_sampled);
            child.end();
        }
        world.flush();
        let expected = |is_taken: bool| if is_taken { 100 } else { 0 };
        assert_eq!(world.names("a").len(), expected(is_remote_sampled));
        assert_eq!(world.names("ops").len(), expected(is_remote_sampled && target > 0.0));
    }
}

#[test]
fn sampled_out_spans_are_in_no_ledger() {
    let world = world(0.0, 0.5);
    let a = world.tenant("a");
    for _ in 0..TRACES {
        a.in_span("root", |_| ());
    }
    world.flush();
    assert_eq!(ledger_of(&world.registry, "tenant:a").accepted, 0);
    let copies = world.names("ops").len();
    assert!((1..TRACES).contains(&copies), "{copies}");
    assert_delivered(&world, OPERATIONS, "ops");
}
