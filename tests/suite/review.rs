//! What several ways of making a span current, one inside the other, come to.

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer, TracerProvider};

use crate::support::World;

#[test]
fn a_span_made_current_by_hand_in_a_session_is_found_again_past_another_tracers_session() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let third_party = b.tracer("third-party");
    let (of_a, of_b) = (a.session("of-a").start(), b.session("of-b").start());
    let in_b = of_b.enter();
    let outer = Context::current_with_span(third_party.start("b-outer")).attach();
    let in_a = of_a.enter();
    let middle = Context::current_with_span(a.start_span("a-middle")).attach();
    third_party.start("b-by-hand").end();
    b.in_span_sync("b-by-closure", |_| ());
    drop(middle);
    drop(in_a);
    drop(outer);
    drop(in_b);
    world.flush();
    for name in ["b-by-hand", "b-by-closure"] {
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
