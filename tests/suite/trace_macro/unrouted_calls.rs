//! Calls without a span: outside a scope, or with a tracer that cannot be resolved.

use std::cell::Cell;

use futures_util::FutureExt as _;
use tracer_registry::status::trace_counts;
use tracer_registry::{LookupError, TracerHandle, TracerRegistry, trace};

use crate::child_process::is_child;
use crate::log::Log;
use crate::support::World;

#[trace]
fn inner() {}

#[trace(tracer = tracer)]
fn of(tracer: Result<&TracerHandle, &str>, runs: &Cell<u32>) {
    runs.set(runs.get() + 1);
    inner();
}

#[trace(registry = registry, tenant = slug, capture = both, fields(key = "unused"))]
async fn for_tenant(registry: &TracerRegistry, slug: &str, runs: &Cell<u32>) -> Result<u32, LookupError> {
    runs.set(runs.get() + 1);
    tokio::task::yield_now().await;
    inner();
    registry.tenant("b").map(|_| runs.get())
}

#[trace(tracer = None::<TracerHandle>)]
fn items(runs: &Cell<u32>) -> impl Iterator<Item = u32> {
    runs.set(runs.get() + 1);
    (0..2).inspect(|_| inner())
}

#[test]
fn a_function_without_its_tracer_runs_once_and_its_spans_land_in_no_project() {
    let world = World::new(&["a", "b"]);
    let runs = Cell::new(0);
    let b = world.tenant("b");
    b.in_span("of b", |_| {
        of(Err("the vault is closed"), &runs);
        assert_eq!(for_tenant(&world.registry, "unknown", &runs).now_or_never(), None);
        let mut polled = Box::pin(for_tenant(&world.registry, "unknown", &runs));
        assert!(polled.as_mut().now_or_never().is_none());
        assert!(polled.now_or_never().expect("ready").is_ok());
        assert_eq!(items(&runs).count(), 2);
        // A call with a valid tracer is traced as usual.
        of(Ok(&world.tenant("a")), &runs);
    });
    assert_eq!(runs.get(), 5);
    world.flush();
    assert_eq!(world.project("b").tree(), "of b\n");
    assert_eq!(world.project("a").tree(), "of\n└─ inner\n");
}

#[test]
fn calls_without_a_span_are_counted_and_failures_are_logged_at_growing_intervals() {
    // The counters are process-wide, so the test needs its own process.
    if !is_child::<&str>(
        "trace_macro::unrouted_calls::calls_without_a_span_are_counted_and_failures_are_logged_at_growing_intervals",
        &[],
    ) {
        return;
    }
    let (log, runs) = (Log::default(), Cell::new(0));
    tracing::subscriber::with_default(log.clone(), || {
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| (0..5).for_each(|_| inner()));
            }
        });
        for _ in 0..9 {
            of(Err("the vault is closed"), &runs);
        }
    });
    let counts = trace_counts();
    // Calls inside a function without its tracer are outside any scope too.
    assert_eq!((counts.unrouted, counts.failed, runs.get()), (15 + 9, 9, 9));
    let lines = log.lines();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(
        lines[3].contains("calls=8")
            && lines[3].contains(r#"function="of""#)
            && lines[3].contains("the vault is closed"),
        "{lines:#?}"
    );
}

#[trace(tenant = "a")]
fn by_name() {
    inner();
}

#[test]
fn a_tenant_without_a_registry_is_looked_up_in_the_global_registry() {
    // The global registry is process-wide, so the test needs its own process.
    if !is_child::<&str>(
        "trace_macro::unrouted_calls::a_tenant_without_a_registry_is_looked_up_in_the_global_registry",
        &[],
    ) {
        return;
    }
    let world = World::new(&["a"]);
    by_name();
    world.registry.install_global();
    by_name();
    world.flush();
    assert_eq!(world.project("a").tree(), "by_name\n└─ inner\n");
    assert_eq!(trace_counts().failed, 1);
}
