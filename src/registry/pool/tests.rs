//! Eviction by idle time and by capacity, with a simulated clock. The endpoint of these tracers
//! does not exist.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;

use crate::config::{Binding, Export, ExportMode, IdleTimeout, Pool, PoolSettings, Retry, WhenFull};
use crate::export::Report;
use crate::registry::{LookupError, TracerRegistry};
use crate::secret::{KeySource, SecretError};
use crate::selector::{Selector, SelectorKind, Slug};

/// Longer than any test: no background sweep runs.
const HOURS: Duration = Duration::from_secs(10 * 60 * 60);

fn registry(pool: Pool) -> TracerRegistry {
    let binding = Binding::new()
        .endpoint("http://127.0.0.1:9")
        .api_key(KeySource::provider("test", "{tenant}"));
    TracerRegistry::builder()
        .secret_source("test", |name: &str| Ok::<_, SecretError>(SecretString::from(name)))
        .tenant("*", binding)
        .feature("f", Binding::new())
        .pool(pool)
        // Nothing is sent until a test flushes.
        .export(Export {
            scheduled_delay: Some(HOURS),
            retry: Retry {
                max_elapsed: Some(Duration::ZERO),
                ..Retry::default()
            },
            ..Export::default()
        })
        .build()
        .expect("valid")
}

fn of(max_tracers: usize, idle_timeout: IdleTimeout) -> TracerRegistry {
    registry(Pool {
        max_tracers: Some(max_tracers),
        idle_timeout: Some(idle_timeout),
        when_full: None,
    })
}

fn look_up(registry: &TracerRegistry, names: &[&str]) {
    for name in names {
        registry.tenant(name).expect("there is room");
    }
}

/// Names in the pool. Does not count as a use of them.
fn pooled(registry: &TracerRegistry) -> Vec<String> {
    let mut names = Vec::new();
    let pool = &registry.0.state.pool;
    pool.single[SelectorKind::Tenant as usize].for_each(|name, _, _| names.push(name.to_string()));
    pool.combined
        .for_each(|selector, _, _| names.push(selector.to_string()));
    names.sort_unstable();
    names
}

/// Drops the unsent data: the endpoint refuses it and there are no retries.
fn flush(registry: &TracerRegistry) -> Report {
    registry.force_flush(Duration::from_secs(60))
}

#[test]
fn a_tracer_is_evicted_once_it_is_unused_for_the_idle_timeout() {
    let timeout = Duration::from_secs(1600);
    let registry = of(100, IdleTimeout::After(timeout));
    let sweep = |second| registry.0.state.pool.sweep(Duration::from_secs(second));
    assert_eq!(
        registry.0.state.pool.period(),
        Duration::from_secs(60),
        "at least once a minute"
    );
    look_up(&registry, &["a", "b", "held"]);
    drop(registry.get(Selector::tenant("a").feature("f")));
    let held = registry.tenant("held").expect("in the pool");
    sweep(100);
    look_up(&registry, &["b"]);
    sweep(1000);
    assert_eq!(sweep(1699), 0);
    assert_eq!(pooled(&registry).len(), 4);
    assert_eq!(sweep(1700), 2);
    assert_eq!(pooled(&registry), ["b", "held"]);
    assert_eq!(sweep(2599), 0, "used at some time before second 1000");
    assert_eq!(sweep(2600), 1);
    assert_eq!(sweep(9000), 0);
    assert_eq!(pooled(&registry), ["held"]);
    // In use until after this sweep; the next one sees it idle.
    drop(held);
    assert_eq!(sweep(10_600), 0);
    assert_eq!(sweep(12_199), 0);
    assert_eq!(sweep(12_200), 1);
    let status = registry.status().pool;
    assert_eq!((status.tracers, status.evicted), (0, 4));
}

#[test]
fn without_an_idle_timeout_a_tracer_stays_until_its_slot_is_needed() {
    let registry = of(2, IdleTimeout::Never);
    look_up(&registry, &["a", "b"]);
    assert_eq!(registry.0.state.pool.sweep(HOURS), 0);
    assert_eq!(registry.0.state.pool.sweep(HOURS * 1000), 0);
    look_up(&registry, &["c"]);
    assert_eq!(pooled(&registry), ["b", "c"]);
}

#[test]
fn the_least_recently_used_tracer_is_evicted() {
    let registry = of(3, IdleTimeout::Never);
    look_up(&registry, &["a", "b", "c", "a", "d"]);
    assert_eq!(pooled(&registry), ["a", "c", "d"]);
    // Creating a tracer advances the clock, and so does a sweep.
    look_up(&registry, &["c", "e"]);
    assert_eq!(pooled(&registry), ["c", "d", "e"]);
    registry.0.state.pool.sweep(HOURS);
    look_up(&registry, &["d"]);
    registry.0.state.pool.sweep(HOURS);
    look_up(&registry, &["c", "f"]);
    assert_eq!(pooled(&registry), ["c", "d", "f"]);
    drop(registry.get(Selector::tenant("d").feature("f")));
    assert_eq!(pooled(&registry), ["c", "f", "feature:f,tenant:d"]);
    let status = registry.status().pool;
    assert_eq!((status.tracers, status.max_tracers, status.evicted), (3, 3, 4));
    assert_eq!((status.rejected, status.grown), (0, 0));
}

#[test]
fn a_sweep_for_capacity_evicts_a_sixteenth_of_the_pool() {
    let registry = of(32, IdleTimeout::Never);
    let names: Vec<String> = (0..32).map(|n| format!("t{n:02}")).collect();
    for name in &names {
        look_up(&registry, &[name]);
    }
    assert_eq!(registry.status().pool.evicted, 0, "the limit is not exceeded");
    look_up(&registry, &["new"]);
    assert_eq!(registry.status().pool.evicted, 3);
    assert_eq!(pooled(&registry)[..2], ["new".to_owned(), "t03".to_owned()]);
    look_up(&registry, &["newer", "newest"]);
    assert_eq!(registry.status().pool.evicted, 3, "no further sweep was needed");
}

/// Sweeps a pool of one slot while something uses its tracer, and again afterwards.
fn is_not_evicted<T>(kind: &str, begin: impl Fn(&TracerRegistry) -> T, end: impl Fn(&TracerRegistry, T)) {
    let registry = of(1, IdleTimeout::After(Duration::from_secs(1000)));
    let used = begin(&registry);
    for second in [0, 10_000, 20_000] {
        assert_eq!(registry.0.state.pool.sweep(Duration::from_secs(second)), 0, "{kind}");
    }
    let error = registry.tenant("other").expect_err(kind);
    assert!(
        matches!(error, LookupError::PoolFull { max_tracers: 1, .. }),
        "{kind}: {error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the pool has no room for tenant:other: pool.max_tracers is 1, and no tracer is idle"
    );
    assert_eq!(pooled(&registry), ["a"], "{kind}");
    assert_eq!(registry.status().pool.rejected, 1, "{kind}");
    end(&registry, used);
    // Unsent data is sent once a slot is needed, and is soon settled.
    drop(flush(&registry));
    registry.tenant("other").expect(kind);
    assert_eq!(pooled(&registry), ["other"], "{kind}");
}

#[test]
fn a_tracer_that_is_in_use_is_not_evicted() {
    let tenant = |registry: &TracerRegistry| registry.tenant("a").expect("there is room");
    is_not_evicted("a handle", tenant, |_, handle| drop(handle));
    is_not_evicted(
        "a clone of a handle",
        |registry| tenant(registry).clone(),
        |_, handle| drop(handle),
    );
    is_not_evicted("a scope", |registry| tenant(registry).enter(), |_, scope| drop(scope));
    is_not_evicted(
        "an open span",
        |registry| tenant(registry).start_span("span"),
        |_, mut span| span.end(),
    );
    is_not_evicted(
        "an open span that is dropped",
        |registry| tenant(registry).start_span("span"),
        |_, span| drop(span),
    );
    is_not_evicted(
        "a session",
        |registry| tenant(registry).session("s").start(),
        |_, session| drop(session),
    );
    is_not_evicted(
        "the default session",
        |registry| {
            let session = tenant(registry).session("s").start();
            session.make_default();
        },
        |registry, ()| {
            let session = tenant(registry).session("another").start();
            session.make_default();
            session.end();
        },
    );
}

#[test]
fn unsent_data_keeps_its_tracer_and_is_sent_early_if_a_slot_is_needed() {
    let registry = of(1, IdleTimeout::After(Duration::from_secs(1000)));
    registry.tenant("a").expect("there is room").start_span("span").end();
    for second in [0, 10_000, 20_000] {
        assert_eq!(registry.0.state.pool.sweep(Duration::from_secs(second)), 0);
    }
    let spans = || registry.status().tracers[0].spans.clone();
    assert_eq!(
        (spans().queued, spans().delivered),
        (1, 0),
        "the idle timeout alone sends nothing early"
    );
    // The first look-up that finds the pool full sends the data. The endpoint refuses it, so it is
    // dropped and the tracer becomes idle.
    until(|| registry.tenant("b").is_ok());
    assert_eq!(pooled(&registry), ["b"]);
    let status = registry.status();
    let a = status
        .tracer(&"tenant:a".parse().expect("a selector"))
        .expect("in the status");
    assert_eq!((a.tracers, a.spans.accepted, a.spans.lost()), (0, 1, 1));
    assert!(a.last_error.is_some());
}

#[test]
fn a_pool_that_may_grow_exceeds_its_limit_and_shrinks_again() {
    let registry = registry(Pool {
        max_tracers: Some(2),
        idle_timeout: Some(IdleTimeout::Never),
        when_full: Some(WhenFull::Grow),
    });
    let held: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| registry.tenant(name).expect("it grows"))
        .into();
    let status = registry.status().pool;
    assert_eq!((status.tracers, status.grown, status.rejected), (4, 2, 0));
    assert_eq!(registry.0.state.pool.sweep(HOURS), 0);
    drop(held);
    assert_eq!(registry.0.state.pool.sweep(HOURS), 2);
    assert_eq!(registry.status().pool.tracers, 2);
    look_up(&registry, &["e"]);
    // One above the limit until the next sweep.
    assert_eq!(registry.status().pool.grown, 3);
    until(|| registry.status().pool.tracers <= 2);
}

#[test]
fn a_look_up_in_a_pool_that_may_grow_neither_waits_nor_sweeps() {
    let settings = PoolSettings {
        max_tracers: 1,
        idle_timeout: IdleTimeout::Never,
        when_full: WhenFull::Grow,
    };
    let registry = of(1, IdleTimeout::Never);
    let selector = |name: &str| Selector::of(SelectorKind::Tenant, Slug::new(name).expect("a name"));
    for mode in [ExportMode::Background, ExportMode::Inline] {
        // No task sweeps, so a look-up that waited would take 250 ms.
        let pool = super::Pool::new(&settings, mode, Arc::default(), Arc::default(), Arc::default());
        let first = || registry.tenant("a");
        drop(pool.get_or_make(&selector("first"), first).expect("there is room"));
        let begun = std::time::Instant::now();
        for n in 0..200 {
            let made = pool.get_or_make(&selector(&format!("t{n}")), || registry.tenant("a"));
            drop(made.expect("it grows"));
        }
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        let status = pool.status();
        assert_eq!(
            (status.tracers, status.grown, status.evicted),
            (201, 200, 0),
            "{mode:?}"
        );
        assert!(pool.is_sweep_wanted(), "a sweep is requested");
    }
}

/// Waits until `holds` returns true.
fn until(holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "timed out");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
