//! A receiver that refuses a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::Enrichment;
use tracer_registry::config::Retry;
use tracer_registry::status::{BreakerState, DropReason};
use tracer_registry_collector::{Endpoint, Fault};

use super::{Vault, eternal_pauses, next};
use crate::support::{LONG, World, binding, key_of, once, quick, wait_for};

#[test]
fn the_source_is_asked_once_however_many_requests_fail_and_each_is_sent_again() {
    let vault = Vault::default();
    let world = vault.world(&["a", "b"], eternal_pauses());
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let fingerprint = a.fingerprint();
    world.revoke(&key_of("a"));
    vault.put("a", &next("a"));
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
    assert_eq!(
        vault.asked(),
        3,
        "once for each tracer, and once for all that was refused"
    );
    let key = world.key("a");
    assert_eq!((key.rotations, key.error), (1, None));
    assert_ne!(a.fingerprint(), fingerprint);
    assert!(a.same_tracer(&world.tenant("a")), "the tracer stays");
    assert_eq!(world.key("b").rotations, 0);
    world.assert_no_trace_of(&next("a"), "b");
}

#[test]
fn a_source_without_another_key_is_asked_once_and_the_requests_wait() {
    let vault = Vault::default();
    let world = vault.world(&["a"], eternal_pauses());
    let a = world.tenant("a");
    let fault = world.revoke(&key_of("a"));
    let _sessions: Vec<_> = (0..50).map(|n| a.session(format!("s{n}")).start()).collect();
    a.start_span("span").end();
    // A few session events may be under way at once; they fail five times in all before the breaker opens.
    wait_for("refusals", || world.collector.fault_hits(fault), |hits| *hits >= 5);
    wait_for(
        "an open breaker",
        || world.status("a").breakers.session_events,
        |breaker| matches!(breaker.state, BreakerState::Open { .. }),
    );
    assert_eq!(vault.asked(), 2);
    let status = world.status("a");
    assert_eq!((status.spans.lost(), status.session_events.lost()), (0, 0), "they wait");
    assert!(status.last_error.expect("refused").to_string().contains("401"));
    assert_eq!(status.breakers.endpoint.failures, 0);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_source_that_gives_another_bad_key_each_time_is_asked_no_more_often() {
    let asked = Arc::new(AtomicU64::new(0));
    let source = Arc::clone(&asked);
    let world = World::with(&[], |builder| {
        let key = tracer_registry::KeySource::provider("each time", "a");
        builder
            .export(eternal_pauses())
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
        asked.load(Ordering::SeqCst),
        2,
        "for the tracer, and for all that was refused"
    );
    assert_eq!(world.key("a").rotations, 1);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_key_that_stays_refused_opens_the_breaker_of_its_tracer_and_a_later_one_heals_it() {
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
    vault.put("a", &next("a"));
    world.wait_for_spans("a", 100);
    world.assert_nothing_lost("a");
    assert_eq!(world.status("a").breakers.spans.failures, 0);
}

#[test]
fn what_waits_too_long_is_dropped_as_unauthorized_also_where_it_was_never_sent() {
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
fn a_source_that_fails_keeps_the_last_good_key_and_says_so() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let first = a.fingerprint();
    for (fault, said) in [("!sealed", "sealed"), ("panic", "panicked")] {
        vault.put("a", fault);
        let refused = world.collector.fault(Fault::reject_key().only(key_of("a")));
        a.start_span("span").end();
        let key = wait_for(
            "an error",
            || world.key("a"),
            |key| {
                let error = key.error.as_ref().map(ToString::to_string);
                error.is_some_and(|error| error.contains(said))
            },
        );
        assert_eq!(key.fingerprint, first);
        let shown = key.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(shown.starts_with("provider vault, secret a: "), "{shown}");
        // The old one may be good again.
        world.collector.clear_fault(refused);
        world.flush();
    }
    world.revoke(&key_of("a"));
    vault.put("a", &next("a"));
    a.start_span("span").end();
    world.wait_for_spans("a", 3);
    assert_eq!((world.key("a").error, world.key("a").rotations), (None, 1));
    world.assert_nothing_lost("a");
}

#[test]
fn tracers_with_the_same_source_are_served_by_one_question_and_others_keep_theirs() {
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
            .export(eternal_pauses())
    })
    .naming(&["shared"]);
    let tracers: Vec<_> = names.iter().map(|name| world.tenant(name)).collect();
    let other = world.tenant("other").fingerprint();
    let asked = vault.asked();
    world.revoke(&key_of("shared"));
    vault.put("shared", &next("shared"));
    for tracer in &tracers {
        tracer.start_span("span").end();
    }
    world.flush();
    assert_eq!(world.names("shared").len(), 40);
    assert_eq!(vault.asked(), asked + 1);
    assert_eq!(world.tenant("other").fingerprint(), other);
}

#[test]
fn old_and_new_overlap_and_a_request_under_way_keeps_its_key() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let hang = world.collector.fault(Fault::hang().on(Endpoint::Traces).times(1));
    a.start_span("with the first").end();
    wait_for("the request", || world.collector.fault_hits(hang), |hits| *hits == 1);
    vault.put("a", &next("a"));
    // A look-up that reads the key again renews it for all tracers that have it.
    let dedicated = world.registry.dedicated(a.selector()).expect("configured");
    assert_eq!(a.fingerprint(), dedicated.fingerprint());
    dedicated.start_span("with the next").end();
    world.wait_for_spans("a", 1);
    world.collector.clear_fault(hang);
    world.wait_for_spans("a", 2);
    let keys = [key_of("a"), next("a")].map(|key| world.collector.fingerprint(&key));
    let used = world.project("a").summary().keys.clone();
    assert!(used.len() == 2 && keys.iter().all(|key| used.contains(key)), "{used:?}");
    assert_eq!(world.status("a").last_error, None, "nothing was refused");
}

#[test]
fn a_key_that_the_receiver_does_not_know_yet_costs_nothing_where_the_old_one_is_good() {
    let vault = Vault::default();
    let world = vault.world(&["a"], eternal_pauses());
    let a = world.tenant("a");
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    let unknown = world.revoke(&next("a"));
    vault.put("a", &next("a"));
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
fn without_time_for_repetitions_a_key_is_renewed_all_the_same() {
    let vault = Vault::default();
    let world = vault.world(&["a"], once());
    let a = world.tenant("a");
    world.revoke(&key_of("a"));
    vault.put("a", &next("a"));
    a.session("s").start();
    a.start_span("span").end();
    world.flush();
    world.assert_nothing_lost("a");
}

#[test]
#[cfg(feature = "grpc")]
fn a_status_of_grpc_about_the_key_is_one() {
    use tracer_registry::config::{BackendName, Binding, Protocol};

    let vault = Vault::default();
    let mut export = eternal_pauses();
    export.protocol = Some(Protocol::Grpc);
    vault.put("a", &key_of("a"));
    let gate = World::new(&[]).naming(&["a"]);
    let key = tracer_registry::KeySource::provider("vault", "a");
    let to = Binding::new().backend(BackendName::Otlp).endpoint(gate.collector.url());
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        builder
            .export(export)
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .defaults(to)
            .tenant("a", Binding::new().api_key(key))
    });
    let a = world.tenant("a");
    gate.revoke(&key_of("a"));
    vault.put("a", &next("a"));
    a.start_span("span").end();
    world.flush();
    assert_eq!(gate.names("a"), ["span"]);
    assert_eq!(vault.asked(), 2);
}
