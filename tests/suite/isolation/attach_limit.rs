//! Threads at OpenTelemetry's limit of attached contexts, where `attach` has no effect.

use std::collections::HashMap;

use futures_util::FutureExt;
use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry::{Context, ContextGuard};
use tracer_registry::{Scope, Selector, Session, TracerHandle, TracerRegistry};

use super::pair;
use crate::log::Log;
use crate::support::World;

/// OpenTelemetry's limit of attached contexts per thread.
const MAX_ATTACHED: usize = 65_534;

/// Attaches the current context up to the limit. Detaches all on drop.
pub(crate) struct FullContextStack(Vec<ContextGuard>);

impl FullContextStack {
    #[expect(
        clippy::disallowed_methods,
        reason = "third-party code uses OpenTelemetry's functions"
    )]
    pub(crate) fn new() -> Self {
        let cx = Context::current();
        Self((0..MAX_ATTACHED).map(|_| cx.clone().attach()).collect())
    }
}

impl Drop for FullContextStack {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

fn injected(tracer: &TracerHandle) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    tracer.inject(&mut headers);
    headers
}

#[test]
fn beyond_the_limit_of_attached_contexts_code_is_in_no_scope_and_is_counted() {
    // Such spans do not go to the default tracer either.
    let world = World::with(&["a", "b"], |builder| builder.routing_default(&Selector::tenant("a")));
    let (a, b) = pair(&world);
    let (of_a, of_b) = (a.session("of-a").start(), b.session("of-b").start());
    let driver = world.registry.routing_provider().tracer("driver");
    let log = Log::default();
    let _logged = tracing::subscriber::set_default(log.clone());
    let _in_a = of_a.enter();
    a.in_span("a", |span| {
        let full = FullContextStack::new();
        let mut unrouted = 0;
        let mut assert_unrouted = |case: &str| {
            driver.start("b-canary").end();
            driver.in_span("b-canary", |_| ());
            unrouted += 2;
            assert!(TracerRegistry::current().is_none(), "{case}");
            assert!(Session::current().is_none(), "{case}");
            assert!(Scope::current().tracer().is_none(), "{case}");
            assert!(a.current_span().is_none(), "{case}");
            for tracer in [&a, &b] {
                assert_eq!(injected(tracer), HashMap::new(), "{case}");
            }
            let elsewhere = std::thread::spawn(Scope::current().wrap(TracerRegistry::current)).join();
            assert!(elsewhere.expect("no panic").is_none(), "{case}");
            assert_eq!(world.registry.status().unrouted.spans, unrouted, "{case}");
        };
        {
            let _in_b = b.enter();
            assert_unrouted("enter");
        }
        {
            let _in_b = of_b.enter();
            assert_unrouted("a session's enter");
        }
        Scope::from(Context::new()).run(|| assert_unrouted("an empty scope"));
        b.scope(async { assert_unrouted("a future") })
            .now_or_never()
            .expect("done");
        b.in_span("b closure", |_| assert_unrouted("a closure"));
        b.in_span_async("b async", async |_| assert_unrouted("an async closure"))
            .now_or_never()
            .expect("done");
        b.tracer("third-party")
            .in_span("b trait", |_| assert_unrouted("a closure of the trait"));
        {
            // Explicit handles work. They ignore the current context, even their own.
            let _in_b = of_b.enter();
            a.start_span("a root").end();
            a.tracer("third-party").start("a root by the trait").end();
            a.in_span("a root by closure", |_| ());
            // An explicitly passed context works as usual.
            b.tracer("third-party")
                .start_with_context("b in a", span.context())
                .end();
            let of_a = of_a.clone();
            let given = std::thread::spawn(move || {
                let _entered = of_a.enter();
                Scope::current()
            });
            let given = given.join().expect("no panic");
            driver.start_with_context("a given", given.context()).end();
        }
        // Below the limit, the previous scope is current again.
        assert!(TracerRegistry::current().expect("a scope").same_tracer(&a));
        driver.start("a as before").end();
        drop(full);
        b.in_span("b as before", |_| driver.start("b routed").end());
    });
    assert!(
        world.registry.status().unrouted.unattached >= 8,
        "{:?}",
        world.registry.status().unrouted
    );
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains("65534"), "{lines:#?}");
    world.flush();
    world.assert_no_trace_of("b-canary", "a");
    world.assert_no_trace_of("b-canary", "b");
    for name in ["a root", "a root by the trait", "a root by closure"] {
        let span = world.span("a", name);
        assert_eq!((&span.parent_span_id, &span.session_id), (&None, &None), "{name}");
    }
    for name in ["b closure", "b async", "b trait", "b in a", "b as before"] {
        let span = world.span("b", name);
        assert_eq!((&span.parent_span_id, &span.session_id), (&None, &None), "{name}");
    }
    assert_eq!(world.span("a", "a given").session_id.as_deref(), Some(of_a.id()));
    let parent = |tenant: &str, name: &str| world.span(tenant, name).parent_span_id.clone();
    assert_eq!(parent("a", "a as before"), Some(world.span("a", "a").span_id.clone()));
    assert_eq!(
        parent("b", "b routed"),
        Some(world.span("b", "b as before").span_id.clone())
    );
}

#[test]
fn a_scope_that_could_not_be_entered_counts_until_its_guard_is_dropped() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let _in_a = a.enter();
    let is_a = || TracerRegistry::current().is_some_and(|current| current.same_tracer(&a));
    let full = FullContextStack::new();
    // The current scope may be entered again.
    let again = Scope::current().enter();
    assert!(is_a());
    let (outer, inner) = (b.enter(), b.enter());
    drop(outer);
    assert!(TracerRegistry::current().is_none());
    // Below the limit again, but the scope entered last is not the current one.
    drop(full);
    assert!(TracerRegistry::current().is_none());
    drop(inner);
    assert!(is_a());
    drop(again);
    assert!(is_a());
}

#[cfg(feature = "macros")]
#[test]
fn beyond_the_limit_of_attached_contexts_a_traced_function_has_no_tracer() {
    #[tracer_registry::trace]
    fn of_scope() {}

    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    a.in_span("a", |_| {
        let _full = FullContextStack::new();
        let _in_b = b.enter();
        of_scope();
    });
    world.flush();
    assert_eq!(world.names("a"), ["a"]);
    assert!(world.project("b").spans().is_empty());
}
