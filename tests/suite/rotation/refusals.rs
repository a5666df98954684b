//! Rotation after the receiver refuses a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::Enrichment;
use tracer_registry::config::Retry;
use tracer_registry::status::{BreakerState, DropReason};
use tracer_registry_collector::{Endpoint, Fault};

use super::{Vault, endless_backoff, next_key};
use crate::support::{LONG, World, binding, key_of, once, quick, wait_for};

#[test]
fn the_source_is_read_once_for_many_failed_requests_and_each_is_repeated() {
    let vault = Vault::default();
    let world = vault.world(&["a", "b"], endless_backoff());
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let fingerprint = a.fingerprint();
    world.revoke(&key_of("a"));
    vault.put("a", &next_key("a"));
    let sessions: Vec<_> = (0..50).map(|n| a.session(format!("s{n}")).start()).collect();
    for session in &sessions {
        session.enrich(Enrichment::new().metadata("n", 1));
    }
    for _ in 0..2000 {
        a.start_span("of a").end();
    }
    b.start_span("of b").end();
    world.wait_for_spans("a", 2000);
    world.flush();
    world.assert_nothing_lost("a");
    world.assert_nothing_lost("b");
    assert_eq!(world.project("a").sessions().len(), 50);
    assert_eq!(vault.reads(), 3, "one read for each tracer, and one for all refusals");
    let key = world.key("a");
    assert_eq!((key.rotations, key.error), (1, None));
    assert_ne!(a.fingerprint(), fingerprint);
    assert!(a.same_tracer(&world.tenant("a")), "the tracer is kept");
    assert_eq!(world.key("b").rotations, 0);
    world.assert_no_trace_of(&next_key("a"), "b");
}

#[test]
fn a_source_without_another_key_is_read_once_and_the_requests_wait() {
    let vault = Vault::default();
    let world = vault.world(&["a"], endless_backoff());
    let a = world.tenant("a");
    let fault = world.revoke(&key_of("a"));
    let _sessions: Vec<_> = (0..50).map(|n| a.session(format!("s{n}")).start()).collect();
    a.start_span("span").end();
    // A few session events are sent concurrently. The breaker opens after five failures.
    wait_for("refusals", || world.collector.fault_hits(fault), |hits| *hits >= 5);
    wait_for(
        "an open breaker",
        || world.status("a").breakers.session_events,
        |breaker| matches!(breaker.state, BreakerState::Open { .. }),
    );
    assert_eq!(vault.reads(), 2);
    let status = world.status("a");
    assert_eq!(
        (status.spans.lost(), status.session_events.lost()),
        (0, 0),
        "refused requests wait"
    );
    assert!(status.last_error.expect("refused").to_string().contains("401"));
    assert_eq!(status.breakers.endpoint.failures, 0);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_source_that_returns_another_invalid_key_each_time_is_read_no_more_often() {
    let reads = Arc::new(AtomicU64::new(0));
    let source = Arc::clone(&reads);
    let world = World::with(&[], |builder| {
        let key = tracer_registry::KeySource::provider("each time", "a");
        builder
            .export(endless_backoff())
            .secret_source("each time", move |_: &str| {
                let number = source.fetch_add(1, Ordering::SeqCst);
                Ok(SecretString::from(format!("hh_key_{number}_canary")))
            })
            .tenant("a", tracer_registry::config::Binding::new().api_key(key))
    });
    world.collector.fault(Fault::reject_key());
    let a = world.tenant("a");
    let _sessions: Vec<_> = (0..50).map(|n| a.session(format!("s{n}")).start()).collect();
    a.start_span("span").end();
    wait_for(
        "an open breaker",
        || world.status("a").breakers.session_events,
        |breaker| matches!(breaker.state, BreakerState::Open { .. }),
    );
    assert_eq!(
        reads.load(Ordering::SeqCst),
        2,
        "one read for the tracer, and one for all refusals"
    );
    assert_eq!(world.key("a").rotations, 1);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_key_that_stays_refused_opens_the_breaker_of_its_tracer_until_the_next_key() {
    let vault = Vault::default();
    let mut export = quick();
    export.retry = Retry {
        initial_backoff: Some(Duration::from_millis(20)),
        max_backoff: Some(Duration::from_millis(100)),
        max_elapsed: Some(Duration::from_secs(600)),
        ..Retry::default()
    };
    let world = vault.world(&["a", "b"], export);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    world.revoke(&key_of("a"));
    for _ in 0..100 {
        a.start_span("of a").end();
    }
    let breakers = || world.status("a").breakers.spans;
    wait_for("an open breaker", breakers, |breaker| breaker.failures >= 5);
    for _ in 0..100 {
        b.start_span("of b").end();
    }
    world.wait_for_spans("b", 100);
    assert_eq!(world.status("b").last_error, None);
    assert_eq!(world.status("a").spans.lost(), 0);
    vault.put("a", &next_key("a"));
    world.wait_for_spans("a", 100);
    world.assert_nothing_lost("a");
    assert_eq!(world.status("a").breakers.spans.failures, 0);
}

#[test]
fn spans_that_wait_too_long_for_a_key_are_dropped_as_unauthorized_even_if_never_sent() {
    let vault = Vault::default();
    let mut export = quick();
    export.max_export_batch_size = Some(10);
    export.retry.max_elapsed = Some(Duration::from_millis(100));
    let world = vault.world(&["a"], export);
    world.revoke(&key_of("a"));
    for _ in 0..50 {
        world.tenant("a").start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::Unauthorized], 50, "{report}");
    assert_eq!(report.lost(), 50);
}

#[test]
fn a_failing_source_keeps_the_last_valid_key_and_the_status_has_the_error() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let first = a.fingerprint();
    for (fault, expected) in [("!sealed", "sealed"), ("panic", "panicked")] {
        vault.put("a", fault);
        let refused = world.collector.fault(Fault::reject_key().only(key_of("a")));
        a.start_span("span").end();
        let key = wait_for(
            "an error",
            || world.key("a"),
            |key| {
                let error = key.error.as_ref().map(ToString::to_string);
                error.is_some_and(|error| error.contains(expected))
            },
        );
        assert_eq!(key.fingerprint, first);
        let message = key.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with("provider vault, secret a: "), "{message}");
        // The receiver accepts the old key again.
        world.collector.clear_fault(refused);
        world.flush();
    }
    world.revoke(&key_of("a"));
    vault.put("a", &next_key("a"));
    a.start_span("span").end();
    world.wait_for_spans("a", 3);
    assert_eq!((world.key("a").error, world.key("a").rotations), (None, 1));
    world.assert_nothing_lost("a");
}

#[test]
fn tracers_that_share_a_key_source_are_rotated_by_one_read_and_others_keep_their_key() {
    let vault = Vault::default();
    vault.put("shared", &key_of("shared"));
    let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let world = World::with(&["other"], |mut builder| {
        let vault = vault.clone();
        builder = builder.secret_source("vault", move |name: &str| vault.fetch(name));
        let shared = tracer_registry::KeySource::provider("vault", "shared");
        let shared = tracer_registry::config::Binding::new().api_key(shared);
        names
            .iter()
            .fold(builder, |builder, name| builder.tenant(name.as_str(), shared.clone()))
            .tenant("other", binding("other"))
            .export(endless_backoff())
    })
    .with_projects(&["shared"]);
    let tracers: Vec<_> = names.iter().map(|name| world.tenant(name)).collect();
    let other = world.tenant("other").fingerprint();
    let reads = vault.reads();
    world.revoke(&key_of("shared"));
    vault.put("shared", &next_key("shared"));
    for tracer in &tracers {
        tracer.start_span("span").end();
    }
    world.flush();
    assert_eq!(world.names("shared").len(), 40);
    assert_eq!(vault.reads(), reads + 1);
    assert_eq!(world.tenant("other").fingerprint(), other);
}

#[test]
fn a_request_in_flight_keeps_its_key_during_a_rotation() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let hang = world.collector.fault(Fault::hang().on(Endpoint::Traces).times(1));
    a.start_span("with the first").end();
    wait_for("the request", || world.collector.fault_hits(hang), |hits| *hits == 1);
    vault.put("a", &next_key("a"));
    // A look-up that reads the key again updates it for all tracers with that source.
    let dedicated = world.registry.dedicated(a.selector()).expect("configured");
    assert_eq!(a.fingerprint(), dedicated.fingerprint());
    dedicated.start_span("with the next").end();
    world.wait_for_spans("a", 1);
    world.collector.clear_fault(hang);
    world.wait_for_spans("a", 2);
    let keys = [key_of("a"), next_key("a")].map(|key| world.collector.fingerprint(&key));
    let used = world.project("a").summary().keys.clone();
    assert!(used.len() == 2 && keys.iter().all(|key| used.contains(key)), "{used:?}");
    assert_eq!(world.status("a").last_error, None, "no request was refused");
}

#[test]
fn a_new_key_that_the_receiver_does_not_accept_yet_loses_nothing_while_the_old_one_is_valid() {
    let vault = Vault::default();
    let world = vault.world(&["a"], endless_backoff());
    let a = world.tenant("a");
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    let unknown = world.revoke(&next_key("a"));
    vault.put("a", &next_key("a"));
    drop(world.registry.dedicated(a.selector()).expect("configured"));
    a.start_span("span").end();
    world.wait_for_spans("a", 2);
    let error = || world.key("a").error.map(|error| error.to_string());
    wait_for("a warning", error, |error| {
        error
            .as_ref()
            .is_some_and(|error| error.contains("still using the previous key"))
    });
    world.collector.clear_fault(unknown);
    a.start_span("span").end();
    world.wait_for_spans("a", 3);
    wait_for("no error", || world.key("a").error, Option::is_none);
    world.assert_nothing_lost("a");
}

#[test]
fn a_key_is_rotated_even_without_time_for_retries() {
    let vault = Vault::default();
    let world = vault.world(&["a"], once());
    let a = world.tenant("a");
    world.revoke(&key_of("a"));
    vault.put("a", &next_key("a"));
    a.session("s").start();
    a.start_span("span").end();
    world.flush();
    world.assert_nothing_lost("a");
}

#[test]
#[cfg(feature = "grpc")]
fn a_grpc_status_that_refuses_the_key_rotates_it() {
    use tracer_registry::config::{BackendName, Binding, Protocol};

    let vault = Vault::default();
    let mut export = endless_backoff();
    export.protocol = Some(Protocol::Grpc);
    vault.put("a", &key_of("a"));
    let receiver = World::new(&[]).with_projects(&["a"]);
    let key = tracer_registry::KeySource::provider("vault", "a");
    let defaults = Binding::new()
        .backend(BackendName::Otlp)
        .endpoint(receiver.collector.url());
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        builder
            .export(export)
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .defaults(defaults)
            .tenant("a", Binding::new().api_key(key))
    });
    let a = world.tenant("a");
    receiver.revoke(&key_of("a"));
    vault.put("a", &next_key("a"));
    a.start_span("span").end();
    world.flush();
    assert_eq!(receiver.names("a"), ["span"]);
    assert_eq!(vault.reads(), 2);
}
