//! Failing receivers: few requests while they fail, full delivery after recovery, other tenants
//! unaffected.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Export, Retry};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::{BreakerState, BreakerStatus, DropReason, TracerStatus};
use tracer_registry_collector::{Endpoint, Fault, LocalCollector};

use crate::support::{AT_ONCE, LONG, World, binding, collector, key_of, quick, registry, wait_for};

/// First retry after 0.5 to 1 s, second after 1 to 2 s, and so on.
fn slow_pauses() -> Export {
    Export {
        retry: Retry {
            initial_backoff: Some(Duration::from_secs(1)),
            max_backoff: Some(Duration::from_secs(10)),
            max_elapsed: Some(Duration::from_secs(120)),
            ..Retry::default()
        },
        ..quick()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn status_of(statuses: &[TracerStatus], tenant: &str) -> TracerStatus {
    let wanted = format!("tenant:{tenant}");
    let found = statuses.iter().find(|status| status.selector.to_string() == wanted);
    found.cloned().expect("it was looked up")
}

fn is_open(status: &BreakerStatus) -> bool {
    matches!(status.state, BreakerState::Open { .. })
}

fn assert_adds_up(status: &TracerStatus) {
    for ledger in [&status.spans, &status.session_events] {
        let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.lost();
        assert_eq!(ledger.accepted, sum, "{status:#?}");
    }
}

/// Returns an address with no listener. Each test passes its own `ip`.
fn unused_address(ip: &str) -> String {
    let listener = LocalCollector::builder()
        .listen(format!("{ip}:0"))
        .start()
        .expect("a free port");
    listener.addr().to_string()
}

#[test]
fn an_unreachable_endpoint_is_probed_rarely_and_gets_everything_after_recovery() {
    let dead = names("dead", 50);
    let fingerprinter = Fingerprinter::new();
    let address = unused_address("127.31.7.3");
    let healthy = collector(&["b"], &fingerprinter).start().expect("a free port");
    let mut builder = registry(&healthy.url(), &["b"], &fingerprinter).export(slow_pauses());
    for tenant in &dead {
        builder = builder.tenant(tenant, binding(tenant).endpoint(format!("http://{address}")));
    }
    let registry = builder.build().expect("valid");
    let tenant = |name: &str| registry.tenant(name).expect("configured");
    let statuses = || registry.status().tracers;

    // The first tenant opens the breaker. Each flush ends a back-off early to reach five failures
    // sooner.
    tenant("dead0").start_span("span").end();
    let breaker_after_flush = || {
        drop(registry.force_flush(Duration::from_millis(1)));
        status_of(&statuses(), "dead0").breakers.endpoint
    };
    wait_for("an open breaker", breaker_after_flush, is_open);
    // Its other tenants send nothing and report an error. The other endpoint is unaffected.
    for name in &dead {
        tenant(name).start_span("span").end();
        let _session = tenant(name).session("s").start();
    }
    tenant("b").start_span("span").end();
    wait_for(
        "b's span",
        || healthy.project("b").expect("named").spans().len(),
        |spans| *spans == 1,
    );
    let all_wait = |statuses: &Vec<TracerStatus>| {
        let of_dead = statuses
            .iter()
            .filter(|status| status.selector.to_string().contains("dead"));
        of_dead
            // Spans wait in the queue, session events in their request.
            .filter(|status| status.spans.queued > 0 && status.session_events.in_flight > 0)
            .filter(|status| status.last_error.is_some())
            .count()
            == 50
    };
    let seen = wait_for("all tenants to wait", statuses, all_wait);
    let tried = |status: &&TracerStatus| matches!(status.last_error, Some(ExportError::Connection { .. }));
    let failures = status_of(&seen, "dead0").breakers.endpoint.failures;
    assert!((5..=12).contains(&failures), "{failures}");
    let tried_count = seen.iter().filter(tried).count();
    assert!(tried_count <= 6, "{tried_count} tenants tried the endpoint");
    for status in &seen {
        assert_adds_up(status);
        let (error, breakers) = (&status.last_error, &status.breakers);
        if status.selector.to_string() == "tenant:b" {
            assert_eq!(
                (error, breakers.endpoint, breakers.spans),
                (&None, BreakerStatus::default(), BreakerStatus::default())
            );
        } else {
            assert!(error.is_some(), "{status:#?}");
            assert_eq!(
                breakers.spans,
                BreakerStatus::default(),
                "no response: the lane breaker stays closed"
            );
        }
    }

    let recovered = collector(&as_strs(&dead), &fingerprinter)
        .listen(address)
        .start()
        .expect("the port is still free");
    let report = registry.force_flush(LONG);
    assert!(report.is_complete(), "{report}");
    for name in &dead {
        let project = recovered.project(name).expect("named");
        let expected = if name == "dead0" { 2 } else { 1 };
        assert_eq!(
            (project.spans().len(), project.sessions().len()),
            (expected, 1),
            "{name}"
        );
    }
    for status in statuses() {
        assert_adds_up(&status);
        assert_eq!(status.breakers.endpoint, BreakerStatus::default());
    }
}

#[test]
fn failures_of_one_tenant_open_only_its_breakers_and_limit_its_requests() {
    for fault in [Fault::status(503), Fault::reset(), Fault::hang()] {
        let shown = format!("{fault:?}");
        let export = Export {
            // Fails the hanging requests; b's requests finish within it.
            timeout: Some(Duration::from_secs(1)),
            ..slow_pauses()
        };
        let world = World::with(&["a", "b"], |builder| builder.export(export));
        let fault = world.collector.fault(fault.only(key_of("a")));
        world.tenant("a").start_span("span").end();
        let sessions: Vec<_> = (0..100)
            .map(|n| world.tenant("a").session(format!("s{n}")).start())
            .collect();
        let breakers = || {
            drop(world.registry.force_flush(Duration::from_millis(1)));
            world.status("a").breakers
        };
        wait_for("both to open", breakers, |breakers| {
            breakers.spans.failures >= 5 && breakers.session_events.failures >= 5
        });
        let before = world.collector.fault_hits(fault);
        // Up to sixteen session requests are in flight at once; after that only probes are sent.
        assert!(before < 200, "{shown}: {before}");
        assert_eq!(
            world.status("a").breakers.endpoint,
            BreakerStatus::default(),
            "{shown}: the endpoint responds"
        );
        world.tenant("b").start_span("span").end();
        wait_for("b's span", || world.names("b"), |names| *names == ["span"]);
        let b = world.status("b");
        assert_eq!(
            (b.breakers.spans, b.breakers.endpoint, &b.last_error),
            (BreakerStatus::default(), BreakerStatus::default(), &None),
            "{shown}"
        );
        assert_adds_up(&world.status("a"));
        world.collector.clear_fault(fault);
        world.flush();
        assert_eq!(world.names("a"), ["span"], "{shown}");
        assert_eq!(world.project("a").sessions().len(), sessions.len(), "{shown}");
        let a = world.status("a");
        assert_eq!(
            (a.breakers.spans, a.breakers.session_events),
            (BreakerStatus::default(), BreakerStatus::default()),
            "{shown}"
        );
        assert_adds_up(&a);
    }
}

#[test]
fn failing_session_requests_do_not_delay_spans() {
    let world = World::with(&["a"], |builder| builder.export(slow_pauses()));
    let fault = world.collector.fault(Fault::status(500).on(Endpoint::Sessions));
    let _sessions: Vec<_> = (0..30)
        .map(|n| world.tenant("a").session(format!("s{n}")).start())
        .collect();
    let events = || world.status("a").breakers.session_events;
    wait_for("an open breaker", events, |status| status.failures >= 5);
    for n in 0..5 {
        world.tenant("a").start_span("span").end();
        wait_for("the span", || world.names("a").len(), |spans| *spans == n + 1);
    }
    assert_eq!(world.status("a").breakers.spans, BreakerStatus::default());
    world.collector.clear_fault(fault);
    world.flush();
}

#[test]
fn responses_with_429_or_retry_after_open_no_breaker() {
    for fault in [Fault::status(429), Fault::status(503).retry_after("0")] {
        let shown = format!("{fault:?}");
        let world = World::new(&["a"]);
        let fault = world.collector.fault(fault.on(Endpoint::Traces));
        let hits = || {
            if world.status("a").spans.pending() == 0 {
                world.tenant("a").start_span("span").end();
            }
            world.collector.fault_hits(fault)
        };
        world.tenant("a");
        wait_for("many responses", hits, |hits| *hits >= 8);
        let breakers = world.status("a").breakers;
        assert_eq!(
            (breakers.spans, breakers.endpoint),
            (BreakerStatus::default(), BreakerStatus::default()),
            "{shown}"
        );
        drop(world.registry.shutdown(Duration::ZERO));
    }
}

#[test]
fn a_connect_timeout_counts_against_the_endpoint_breaker() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    // Fills the backlog of a listener that never accepts.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.31.7.4:0".parse().expect("an address"))
        .expect("a free port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("bound");
    let full: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
            .take(16)
            .collect();
    assert!(full.len() < 16, "the backlog is never full");
    let world = World::with(&["b"], |builder| {
        let export = Export {
            // Long enough for b's requests.
            timeout: Some(Duration::from_secs(1)),
            ..quick()
        };
        builder
            .export(export)
            .tenant("a", binding("a").endpoint(format!("http://{address}")))
    });
    world.tenant("a").start_span("span").end();
    let endpoint = || world.status("a").breakers.endpoint;
    wait_for("an open breaker", endpoint, |status| status.failures >= 6);
    let a = world.status("a");
    assert!(matches!(a.last_error, Some(ExportError::Timeout { .. })), "{a:#?}");
    assert_eq!(a.breakers.spans, BreakerStatus::default());
    world.tenant("b").start_span("span").end();
    wait_for("b's span", || world.names("b"), |names| *names == ["span"]);
    assert!(world.status("b").breakers.endpoint == BreakerStatus::default());
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn an_open_breaker_delays_no_batch_beyond_max_elapsed() {
    let endpoint_url = format!("http://{}", unused_address("127.31.7.5"));
    let tenants = names("t", 20);
    let fingerprinter = Fingerprinter::new();
    let export = Export {
        timeout: Some(Duration::from_millis(200)),
        retry: Retry {
            max_elapsed: Some(Duration::from_millis(200)),
            ..slow_pauses().retry
        },
        ..quick()
    };
    let registry = registry(&endpoint_url, &as_strs(&tenants), &fingerprinter)
        .export(export)
        .build()
        .expect("valid");
    for round in 0..3 {
        for name in &tenants {
            registry.tenant(name).expect("configured").start_span("span").end();
        }
        let report = registry.force_flush(LONG);
        for tracer in &report.tracers {
            assert_eq!(tracer.dropped[&DropReason::RetriesExhausted], 1, "{round}: {tracer}");
            assert!(tracer.last_error.is_some(), "{round}: {tracer}");
        }
    }
    let statuses = registry.status().tracers;
    statuses.iter().for_each(assert_adds_up);
    let failures = statuses[0].breakers.endpoint.failures;
    assert!((5..60).contains(&failures), "{failures}");
}

#[test]
fn flush_and_shutdown_keep_their_timeout_at_an_open_breaker_and_status_reports_it() {
    let endpoint_url = format!("http://{}", unused_address("127.31.7.6"));
    let registry = registry(&endpoint_url, &["a"], &Fingerprinter::new())
        .export(slow_pauses())
        .build()
        .expect("valid");
    registry.tenant("a").expect("configured").start_span("span").end();
    let endpoint = || {
        drop(registry.force_flush(Duration::from_millis(1)));
        registry.status().tracers[0].breakers.endpoint
    };
    wait_for("an open breaker", endpoint, is_open);
    let status = serde_json::to_value(registry.status()).expect("serializable");
    let endpoint = &status["tracers"][0]["breakers"]["endpoint"];
    assert!(
        endpoint["failures"].as_u64().is_some_and(|failures| failures >= 5),
        "{endpoint}"
    );
    assert!(
        endpoint["state"] == "half_open" || endpoint["state"]["open"]["until"].is_string(),
        "{endpoint}"
    );
    let begun = Instant::now();
    assert_eq!(registry.force_flush(Duration::from_millis(50)).pending(), 1);
    let report = registry.shutdown(Duration::from_millis(50));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(report.tracers[0].dropped[&DropReason::Shutdown], 1);
    assert!(matches!(
        report.tracers[0].last_error,
        Some(ExportError::Connection { .. })
    ));
}
