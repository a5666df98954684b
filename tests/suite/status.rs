//! What `status()` shows: of requests that fail, and as a document that is described and can be read back.

#[cfg(feature = "grpc")]
mod shape;

use std::time::{Duration, SystemTime};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{BackendName, Compression, Export, ExportMode, Protocol};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::{
    BreakerState, DropReason, RequestKind, RequestState, RequestStatus, Status, TracerStatus,
};
use tracer_registry::{Enrichment, Selector};
use tracer_registry_collector::{Endpoint, Fault};

use crate::support::{LONG, World, binding, collector, once, quick, registry, wait_for};

/// Sends only in a flush, and each request once.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

/// Times in a status are cut to milliseconds.
fn in_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    SystemTime::UNIX_EPOCH + Duration::from_millis(since.as_millis().try_into().expect("small"))
}

#[test]
fn the_last_error_says_when_how_often_and_whether_it_is_over() {
    let world = World::with(&["a"], |builder| builder.export(inline()));
    let a = world.tenant("a");
    let send = || {
        a.start_span("span").end();
        drop(world.registry.force_flush(LONG));
        world.status("a")
    };
    assert_eq!(send().errors, None);
    let begun = in_millis(SystemTime::now());
    let down = world.collector.fault(Fault::status(503));
    let first = send().errors.expect("an error");
    assert!(begun <= first.since && first.since == first.last, "{begun:?} {first:?}");
    assert_eq!((first.kind, first.count, first.over), (RequestKind::Spans, 1, None));
    world.collector.clear_fault(down);
    // Another error of the same row, with a complaint about what was taken.
    world.collector.fault(Fault::partial_success(1).times(1));
    let status = send();
    let second = status.errors.expect("an error");
    assert_eq!((second.since, second.count, second.over), (first.since, 2, None));
    assert!(
        status
            .last_error
            .expect("an error")
            .to_string()
            .contains("rejected 1 spans")
    );
    let status = send();
    let over = status.errors.expect("it stays");
    assert_eq!((over.since, over.last, over.count), (second.since, second.last, 2));
    assert!(over.over.is_some_and(|at| at >= over.last), "{over:?}");
    assert!(status.last_error.is_some(), "it stays");
    assert_eq!(send().errors, Some(over), "a further success changes nothing");
    world.collector.fault(Fault::status(503).times(1));
    let again = send().errors.expect("an error");
    assert_eq!((again.count, again.over), (1, None));
    assert!(again.since >= over.last, "a row of its own");
}

#[test]
fn what_is_wrong_with_session_events_is_not_over_by_spans_that_are_delivered() {
    let world = World::with(&["a"], |builder| builder.export(inline()));
    let a = world.tenant("a");
    let session = a.session("s").start();
    world.flush();
    let down = world.collector.fault(Fault::status(503).on(Endpoint::Events));
    session.enrich(Enrichment::new().metadata("n", 1));
    drop(world.registry.force_flush(LONG));
    let failed = world.status("a").errors.expect("an error");
    for _ in 0..3 {
        world.collector.fault(Fault::status(400).on(Endpoint::Traces).times(1));
        for _ in 0..2 {
            a.start_span("span").end();
            drop(world.registry.force_flush(LONG));
        }
    }
    let status = world.status("a");
    assert_eq!(
        status.errors,
        Some(failed),
        "a later error that is over does not hide it"
    );
    assert_eq!((failed.kind, failed.over), (RequestKind::SessionEvents, None));
    assert!(status.last_error.expect("an error").to_string().contains("503"));
    world.collector.clear_fault(down);
    session.enrich(Enrichment::new().metadata("n", 2));
    world.flush();
    let status = world.status("a");
    assert_eq!(
        status.errors.expect("it stays").kind,
        RequestKind::Spans,
        "all are over, this was later"
    );
}

#[test]
fn the_last_refused_span_is_shown_with_its_id_and_size() {
    const POISON: &str = "the-poison";
    let world = World::with(&["a"], |builder| {
        builder.export(Export {
            compression: Some(Compression::None),
            ..inline()
        })
    });
    world.collector.fault(Fault::status(413).when_body_contains(POISON));
    let a = world.tenant("a");
    let long = "x".repeat(500);
    let mut refused = String::new();
    for name in ["one", "two", "\u{1b}[2J\u{202e}the-poison\n", "four"] {
        let mut span = a.start_span(format!("{name}{long}"));
        if name.contains(POISON) {
            refused = span.span_context().span_id().to_string();
        }
        span.end();
    }
    assert_eq!(world.status("a").last_refused_span, None);
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.tracers[0].delivered, report.lost()), (3, 1), "{report}");
    let shown = world.status("a").last_refused_span.expect("one was refused");
    assert_eq!((shown.span_id, shown.reason), (refused, DropReason::TooLarge));
    assert_eq!(shown.trace_id.len(), 32);
    assert!(shown.name.starts_with("[2J the-poison xxx"), "{:?}", shown.name);
    assert_eq!(shown.name.chars().count(), 100);
    let has_poison = |body: &[u8]| body.windows(POISON.len()).any(|bytes| bytes == POISON.as_bytes());
    let requests = world.collector.requests();
    let refused = requests.iter().filter(|request| has_poison(&request.body));
    let smallest = refused.map(|request| request.body.len() as u64).min();
    assert_eq!(Some(shown.bytes), smallest);
}

#[test]
fn a_status_says_where_spans_go_and_how() {
    let export = Export {
        protocol: Some(Protocol::HttpJson),
        compression: Some(Compression::None),
        ..quick()
    };
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a"], &fingerprinter).start().expect("a free port");
    let url = collector.url();
    let registry = registry(&url, &[], &fingerprinter)
        .tenant("a", binding("a").backend(BackendName::Otlp).endpoint(&url))
        .export(export)
        .build()
        .expect("valid");
    let world = World { registry, collector };
    let a = world.tenant("a");
    let destination = world.status("a").destination.expect("it has a tracer");
    assert_eq!(destination.endpoint, format!("{}/v1/traces", world.collector.url()));
    assert_eq!(
        (destination.backend, destination.protocol, destination.compression),
        (BackendName::Otlp, Protocol::HttpJson, Compression::None)
    );
    drop(a);
    assert_eq!(world.registry.remove(Selector::tenant("a")), Ok(true));
    let gone = |status: &TracerStatus| status.tracers == 0;
    assert_eq!(wait_for("its end", || world.status("a"), gone).destination, None);
}

#[test]
fn two_statuses_of_one_state_are_equal() {
    let world = World::with(&["a"], |builder| builder.export(eternal_pauses()));
    world.collector.fault(Fault::status(503));
    let a = world.tenant("a");
    a.start_span("span").end();
    let breaker = || {
        drop(world.registry.force_flush(Duration::from_millis(1)));
        world.status("a").breakers.spans
    };
    wait_for("an open breaker", breaker, |breaker| {
        breaker.failures > 5 && matches!(breaker.state, BreakerState::Open { .. })
    });
    // The opening that a flush cut short ends with another failure, and then nothing is tried for half an hour at least.
    let lasts = |status: &Status| {
        let a = &status.tracers[0];
        // The breaker and the request hear of a failure at other moments than the errors do.
        let failures = a.breakers.spans.failures;
        let is_counted = a.errors.as_ref().map(|errors| errors.count) == Some(failures.into());
        let waits =
            |request: &RequestStatus| request.state == RequestState::WaitsAtBreaker && request.attempt == failures + 1;
        let has_ended = is_counted && a.oldest_request.as_ref().is_some_and(waits);
        match a.breakers.spans.state {
            BreakerState::Open { until } => has_ended && until > SystemTime::now() + LONG,
            _ => false,
        }
    };
    let first = wait_for("a long opening", || world.registry.status(), lasts);
    for _ in 0..1_000 {
        assert_eq!(world.registry.status(), first);
    }
    drop(world.registry.shutdown(Duration::ZERO));
}

fn eternal_pauses() -> Export {
    let mut export = quick();
    export.retry.initial_backoff = Some(Duration::from_secs(3600));
    export.retry.max_backoff = Some(Duration::from_secs(3600));
    export.retry.max_elapsed = Some(Duration::from_secs(24 * 3600));
    export.timeout = Some(LONG);
    export
}

/// Waits until the oldest request of the tracer is as it is looked for.
fn oldest(world: &World, is_looked_for: impl Fn(&RequestStatus) -> bool) -> RequestStatus {
    let oldest = || world.status("a").oldest_request;
    let found = wait_for("a request", oldest, |oldest| {
        oldest.as_ref().is_some_and(&is_looked_for)
    });
    found.expect("it was found")
}

#[test]
fn a_request_that_has_no_answer_is_shown_since_when() {
    let world = World::with(&["a"], |builder| builder.export(eternal_pauses()));
    let a = world.tenant("a");
    assert_eq!(world.status("a").oldest_request, None);
    let hangs = world.collector.fault(Fault::hang());
    let begun = in_millis(SystemTime::now());
    a.start_span("span").end();
    wait_for("the request", || world.collector.fault_hits(hangs), |hits| *hits == 1);
    let request = oldest(&world, |request| request.state == RequestState::Sent);
    assert_eq!(
        (request.kind, request.attempt, request.next_attempt),
        (RequestKind::Spans, 1, None)
    );
    assert!(
        begun <= request.since && request.since <= SystemTime::now(),
        "{request:?}"
    );
    world.collector.clear_faults();
    world.flush();
    assert_eq!(world.status("a").oldest_request, None);
}

#[test]
fn a_request_that_is_repeated_says_when_and_as_which_attempt() {
    let world = World::with(&["a"], |builder| builder.export(eternal_pauses()));
    let a = world.tenant("a");
    let session = a.session("s").start();
    world.flush();
    world.collector.fault(Fault::status(503));
    let begun = SystemTime::now();
    session.enrich(Enrichment::new().metadata("n", 1));
    // The waits are random: up to an hour, and now and then next to nothing.
    let far = |status: &TracerStatus| {
        let request = status.oldest_request;
        let request = request.filter(|request| request.state == RequestState::WaitsToRetry);
        let due = request.and_then(|request| request.next_attempt);
        due.is_some_and(|due| due > SystemTime::now() + Duration::from_secs(1))
    };
    let status = wait_for("a wait", || world.status("a"), far);
    let request = status.oldest_request.expect("it waits");
    assert_eq!(
        (request.kind, request.asked_wait_ms),
        (RequestKind::SessionEvents, None)
    );
    assert_eq!(u64::from(request.attempt), status.errors.expect("errors").count + 1);
    assert!(
        request.next_attempt <= Some(SystemTime::now() + Duration::from_secs(3600)),
        "{request:?}"
    );
    assert!(request.since >= in_millis(begun), "{request:?}");
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_wait_that_the_receiver_asked_for_is_shown_as_it_asked_and_as_it_holds() {
    let mut export = eternal_pauses();
    export.retry.initial_backoff = Some(Duration::from_millis(1));
    export.retry.max_backoff = Some(Duration::from_millis(1));
    export.retry.max_retry_after = Some(Duration::from_secs(600));
    let world = World::with(&["a"], |builder| builder.export(export));
    world.collector.fault(Fault::status(503).retry_after("1800"));
    let a = world.tenant("a");
    let begun = in_millis(SystemTime::now());
    a.start_span("span").end();
    let request = oldest(&world, |request| request.state == RequestState::WaitsAtBreaker);
    assert_eq!((request.attempt, request.asked_wait_ms), (2, Some(1_800_000)));
    let held = begun + Duration::from_secs(600)..=SystemTime::now() + Duration::from_secs(600);
    assert!(
        request.next_attempt.is_some_and(|due| held.contains(&due)),
        "{held:?} {request:?}"
    );
    assert_eq!(world.status("a").breakers.spans.asked_until, request.next_attempt);
    let first = world.registry.status();
    assert!((0..100).all(|_| world.registry.status() == first));
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_request_at_an_open_breaker_is_due_when_that_lets_it_through() {
    let mut export = eternal_pauses();
    export.retry.initial_backoff = Some(Duration::from_millis(1));
    // Five failures come soon, and the pauses of the breaker double.
    export.retry.max_backoff = Some(Duration::from_secs(3600));
    let world = World::with(&["a"], |builder| builder.export(export));
    world.collector.fault(Fault::status(503));
    world.tenant("a").start_span("span").end();
    let at_breaker = |status: &TracerStatus| {
        let state = status.oldest_request.map(|request| request.state);
        let is_open = matches!(status.breakers.spans.state, BreakerState::Open { .. });
        is_open && state == Some(RequestState::WaitsAtBreaker)
    };
    let status = wait_for("an open breaker", || world.status("a"), at_breaker);
    let request = status.oldest_request.expect("it waits");
    let BreakerState::Open { until } = status.breakers.spans.state else {
        panic!("{status:?}")
    };
    assert_eq!(request.next_attempt, Some(until));
    assert_eq!(u64::from(request.attempt), status.errors.expect("errors").count + 1);
    drop(world.registry.shutdown(Duration::ZERO));
}
