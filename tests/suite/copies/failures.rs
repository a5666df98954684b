//! What a target refuses or lacks does not touch the source, and the other way round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::config::Export;
use tracer_registry::secret::SecretError;
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use super::{OPERATIONS, assert_delivered, ledger_of, operations, status_of, world};
use crate::log::Log;
use crate::support::{AT_ONCE, World, binding, key_of, quick, wait_for};

#[test]
fn a_receiver_that_fails_does_not_touch_the_other() {
    for fault in [
        Fault::hang(),
        Fault::status(500),
        Fault::reject_key(),
        Fault::reset(),
        Fault::status(429).retry_after("60"),
    ] {
        for (fails, works, of_works) in [("ops", "a", "tenant:a"), ("a", "ops", OPERATIONS)] {
            let case = format!("{fails}: {fault:?}");
            let world = world(&["a"], |builder| builder);
            world.collector.fault(fault.clone().only(key_of(fails)));
            let a = world.tenant("a");
            for _ in 0..50 {
                a.start_span("span").end();
            }
            wait_for(&case, || world.names(works).len(), |spans| *spans == 50);
            let ledger = wait_for(
                &case,
                || ledger_of(&world.registry, of_works),
                |ledger| ledger.pending() == 0,
            );
            assert_eq!((ledger.accepted, ledger.delivered), (50, 50), "{case}");
            assert!(world.names(fails).is_empty(), "{case}");
            let report = world.registry.shutdown(Duration::from_millis(10));
            assert_eq!(report.lost(), 50, "{case}");
            assert_delivered(&world, of_works, works);
        }
    }
}

#[test]
fn a_full_queue_of_one_drops_nothing_of_the_other() {
    for (full, other) in [("ops", "a"), ("a", "ops")] {
        let export = Export {
            max_queue_size: Some(20),
            max_export_batch_size: Some(5),
            ..quick()
        };
        let world = world(&["a"], |builder| builder.export(export));
        let fault = world.collector.fault(Fault::hang().only(key_of(full)));
        let a = world.tenant("a");
        for sent in 1..=100 {
            a.start_span("span").end();
            wait_for("the other's span", || world.names(other).len(), |spans| *spans == sent);
        }
        let [of_full, of_other] = [full, other].map(|name| match name {
            "ops" => ledger_of(&world.registry, OPERATIONS),
            _ => ledger_of(&world.registry, "tenant:a"),
        });
        assert_eq!((of_other.accepted, of_other.lost()), (100, 0));
        assert_eq!(of_full.accepted, 100);
        assert!(of_full.lost() >= 60, "{of_full:?}");
        world.collector.clear_fault(fault);
        drop(world.registry.shutdown(Duration::ZERO));
    }
}

/// A secret source that refuses the key of `ops` until it is allowed.
fn gated(allowed: &Arc<AtomicBool>) -> impl Fn(&str) -> Result<SecretString, SecretError> + Send + Sync + 'static {
    let allowed = Arc::clone(allowed);
    move |name: &str| {
        if name == "ops" && !allowed.load(Ordering::SeqCst) {
            return Err(SecretError::refused("not yet"));
        }
        Ok(SecretString::from(key_of(name)))
    }
}

#[test]
fn a_target_without_a_key_costs_its_copies_alone_until_it_has_one() {
    let (log, allowed) = (Log::with_recoveries(), Arc::new(AtomicBool::new(false)));
    let world = tracing::subscriber::with_default(log.clone(), || {
        let source = gated(&allowed);
        world(&["a", "b"], |builder| builder.secret_source("test", source))
    });
    for tenant in ["a", "b"] {
        world.tenant(tenant).start_span("early").end();
    }
    world.flush_all();
    let status = status_of(&world.registry, OPERATIONS);
    assert_eq!(status.spans.dropped, [(DropReason::NoTracer, 2)].into());
    assert_eq!((status.tracers, status.spans.accepted), (0, 2));
    for tenant in ["tenant:a", "tenant:b"] {
        assert_delivered(&world, tenant, &tenant[7..]);
        assert!(!status_of(&world.registry, tenant).copies[0].works);
    }
    allowed.store(true, Ordering::SeqCst);
    let works = || status_of(&world.registry, "tenant:a").copies[0].works;
    wait_for("the target", works, |works| *works);
    world.tenant("a").start_span("late").end();
    world.flush_all();
    assert_eq!(world.names("ops"), ["late"]);
    let ledger = ledger_of(&world.registry, OPERATIONS);
    assert_eq!((ledger.accepted, ledger.delivered, ledger.lost()), (3, 1, 2));
}

#[test]
fn a_key_that_hangs_delays_only_the_first_look_up_and_only_for_a_second() {
    let (release_tx, release_rx) = std::sync::mpsc::channel::<()>();
    let release_rx = std::sync::Mutex::new(release_rx);
    let source = move |name: &str| {
        if name == "ops" {
            // Until the test ends.
            let _ = release_rx.lock().expect("not poisoned").recv();
        }
        Ok::<_, SecretError>(SecretString::from(key_of(name)))
    };
    let world = world(&["a", "b", "c"], |builder| builder.secret_source("test", source));
    let began = Instant::now();
    let first = world.tenant("a");
    assert!(began.elapsed() < AT_ONCE);
    for tenant in ["b", "c"] {
        world.tenant(tenant).start_span("span").end();
    }
    first.start_span("span").end();
    for tenant in ["a", "b", "c"] {
        wait_for(tenant, || world.names(tenant).len(), |spans| *spans == 1);
    }
    let lost = || ledger_of(&world.registry, OPERATIONS).lost();
    assert_eq!(lost(), 3);
    drop(release_tx);
    wait_for(
        "the target",
        || status_of(&world.registry, "tenant:a").copies[0].works,
        |works| *works,
    );
    first.start_span("late").end();
    wait_for("the copy", || world.names("ops"), |names| names == &["late"]);
    assert_eq!(lost(), 3);
}

#[test]
fn spans_after_a_shutdown_are_counted_in_both_ledgers() {
    let world = world(&["a"], |builder| builder);
    let a = world.tenant("a");
    let open = a.start_span("open");
    assert!(world.registry.shutdown(AT_ONCE).is_complete());
    drop(open);
    for selector in ["tenant:a", OPERATIONS] {
        let ledger = ledger_of(&world.registry, selector);
        assert_eq!(ledger.dropped, [(DropReason::AfterShutdown, 1)].into(), "{selector}");
    }
}

#[test]
fn an_erased_source_copies_nothing_more_and_an_erased_target_takes_nothing_from_it() {
    let world = world(&["a", "b"], |builder| builder);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    a.start_span("before").end();
    world.flush();
    assert_eq!(world.names("ops"), ["before"]);
    world
        .registry
        .purge("tenant:a".parse::<tracer_registry::Selector>().expect("valid"))
        .expect("erased");
    a.start_span("after").end();
    b.start_span("of b").end();
    world.flush_all();
    assert_eq!(
        world.names("ops"),
        ["before", "of b"],
        "the copy of what was sent stays"
    );
    world.registry.purge(operations()).expect("erased");
    b.start_span("without a copy").end();
    world.flush_all();
    assert_eq!(world.names("b"), ["of b", "without a copy"]);
    let ledger = ledger_of(&world.registry, OPERATIONS);
    assert_eq!(ledger.dropped, [(DropReason::Purged, 1)].into());
    world.registry.allow(operations()).expect("allowed");
    let arrives = || {
        b.start_span("again").end();
        world.names("ops")
    };
    wait_for("copies after it is allowed", arrives, |names| {
        names.contains(&"again".to_owned())
    });
}

impl World {
    /// Flushes, whether or not something was lost before.
    pub(super) fn flush_all(&self) {
        let report = self.registry.force_flush(crate::support::LONG);
        assert_eq!(report.pending(), 0, "{report:#?}");
    }
}

#[test]
fn a_binding_that_copies_to_itself_is_refused_when_the_registry_is_built() {
    let built = tracer_registry::TracerRegistry::builder()
        .environment("operations", binding("ops").also(&operations()))
        .build();
    let error = built.expect_err("a circle").to_string();
    assert!(
        error.contains("environments.operations.also: environment:operations: its own spans are copied"),
        "{error}"
    );
}
