//! Failing receivers: retries, redirects, drops and their counts.

use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{BackendName, Export, Retry};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry_collector::{Endpoint, Fault, LocalCollector};

use crate::support::{LONG, World, binding, collector, key_of, once, quick, registry, scripted, wait_for};

#[test]
fn transient_failures_are_retried_until_delivery() {
    let statuses = [408_u16, 429, 500, 502, 503, 504, 599];
    let names: Vec<String> = statuses.iter().map(|status| format!("s{status}")).collect();
    let mut tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    tenants.push("reset");
    let world = World::new(&tenants);
    let mut faults: Vec<(&str, Fault)> = names
        .iter()
        .map(String::as_str)
        .zip(statuses.map(Fault::status))
        .collect();
    faults.push(("reset", Fault::reset()));
    let faults: Vec<_> = faults
        .into_iter()
        .map(|(tenant, fault)| (tenant, world.collector.fault(fault.times(2).only(key_of(tenant)))))
        .collect();
    for tenant in &tenants {
        world.tenant(tenant).start_span("span").end();
    }
    world.flush();
    for (tenant, fault) in faults {
        assert_eq!(world.collector.fault_hits(fault), 2, "{tenant}");
        assert_eq!(world.names(tenant), ["span"], "{tenant}");
        assert!(
            world.status(tenant).last_error.is_some(),
            "{tenant}: the last error is kept"
        );
    }
}

#[test]
fn a_request_that_times_out_is_retried() {
    let export = Export {
        timeout: Some(Duration::from_millis(200)),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let fault = world.collector.fault(Fault::hang().times(1));
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!(world.collector.fault_hits(fault), 1);
    // On a busy machine the second request may time out too and deliver the span again.
    let names = world.names("a");
    assert!(
        !names.is_empty() && names.iter().all(|name| name == "span"),
        "{names:?}"
    );
    assert!(matches!(
        world.status("a").last_error,
        Some(ExportError::Timeout { .. })
    ));
}

#[test]
fn spans_and_sessions_wait_for_a_receiver_that_starts_later() {
    let fingerprinter = Fingerprinter::new();
    // No other test uses this address.
    let reserved = collector(&["a"], &fingerprinter)
        .listen("127.31.7.1:0")
        .start()
        .expect("a free port");
    let (address, url) = (reserved.addr().to_string(), reserved.url());
    drop(reserved);
    let registry = registry(&url, &["a"], &fingerprinter).build().expect("valid");
    let a = registry.tenant("a").expect("configured");
    let session = a.session("s").start();
    a.start_span("span").end();
    let error = wait_for(
        "a refused connection",
        || registry.status().tracers[0].last_error.clone(),
        Option::is_some,
    );
    assert!(matches!(error, Some(ExportError::Connection { .. })), "{error:?}");
    let late = collector(&["a"], &fingerprinter)
        .listen(address)
        .start()
        .expect("the port is still free");
    let report = registry.force_flush(LONG);
    assert!(report.is_complete(), "{report}");
    let project = late.project("a").expect("named");
    assert_eq!(project.spans().len(), 1);
    assert!(project.session(session.id()).is_some());
}

#[test]
fn a_flush_waits_for_retry_after_in_seconds_and_as_a_date() {
    let world = World::new(&["seconds", "date"]);
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    world
        .collector
        .fault(Fault::status(429).retry_after("1").times(1).only(key_of("seconds")));
    world
        .collector
        .fault(Fault::status(503).retry_after(date).times(1).only(key_of("date")));
    for tenant in ["seconds", "date"] {
        world.tenant(tenant).start_span("span").end();
    }
    let begun = Instant::now();
    world.flush();
    // A date has whole seconds, so at least one of the two seconds remains.
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    for tenant in ["seconds", "date"] {
        assert_eq!(world.names(tenant), ["span"], "{tenant}");
    }
}

#[test]
fn an_excessive_retry_after_is_limited_for_the_next_span_too() {
    let bound = Duration::from_secs(4);
    let export = Export {
        retry: Retry {
            max_elapsed: Some(Duration::from_millis(3900)),
            max_retry_after: Some(bound),
            ..quick().retry
        },
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    // One second first, so that elapsed time plus the maximum would overflow.
    world.collector.fault(Fault::status(429).retry_after("1").times(1));
    world
        .collector
        .fault(Fault::status(429).retry_after(u64::MAX.to_string()).times(1));
    let a = world.tenant("a");
    let begun = Instant::now();
    a.start_span("lost").end();
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::RetriesExhausted], 1);
    assert!(
        report.to_string().contains("retry after 18446744073709551615s"),
        "{report}"
    );
    // Spans that would expire before the limit are dropped unsent. Later spans are sent after it.
    let sent = || {
        a.start_span("next").end();
        let _ = world.registry.force_flush(LONG);
        world.names("a").len()
    };
    wait_for("an accepted span", sent, |sent| *sent == 1);
    // The limited wait began after the first second.
    let waited = begun.elapsed();
    assert!(waited >= bound + Duration::from_millis(950), "{waited:?}");
}

#[test]
fn spans_with_a_refused_key_are_dropped_after_max_elapsed_and_the_tracer_continues() {
    let world = World::with(&["s401", "s403"], |builder| builder.export(once()));
    for (tenant, status) in [("s401", 401), ("s403", 403)] {
        let fault = world
            .collector
            .fault(Fault::status(status).only(key_of(tenant)).on(Endpoint::Traces));
        world.tenant(tenant).start_span("span").end();
        let report = world.registry.force_flush(LONG);
        let tracer = report
            .tracers
            .iter()
            .find(|tracer| tracer.selector == *world.tenant(tenant).selector())
            .expect("reported");
        assert_eq!(tracer.dropped[&DropReason::Unauthorized], 1);
        assert!(matches!(tracer.last_error, Some(ExportError::Status { status: seen, .. }) if seen == status));
        assert_eq!(world.collector.fault_hits(fault), 1);
        // The next span is sent: the key may be valid by now.
        world.collector.clear_fault(fault);
        world.tenant(tenant).start_span("next").end();
        world.flush();
        assert_eq!(world.names(tenant), ["next"]);
    }
}

#[test]
fn permanent_failures_are_dropped_and_counted() {
    let statuses = [400_u16, 404, 405, 413, 415, 422];
    let names: Vec<String> = statuses.iter().map(|status| format!("s{status}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&tenants);
    let faults: Vec<_> = tenants
        .iter()
        .zip(statuses)
        .map(|(tenant, status)| world.collector.fault(Fault::status(status).only(key_of(tenant))))
        .collect();
    for tenant in &tenants {
        world.tenant(tenant).start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert!(!report.is_complete());
    for ((tracer, fault), status) in report.tracers.iter().zip(faults).zip(statuses) {
        let reason = if status == 413 {
            DropReason::TooLarge
        } else {
            DropReason::Refused
        };
        assert_eq!(tracer.dropped.get(&reason), Some(&1), "{tracer}");
        assert_eq!(world.collector.fault_hits(fault), 1, "{tracer}");
    }
}

#[test]
fn spans_rejected_by_partial_success_are_counted_and_not_retried() {
    for protocol in [
        tracer_registry::config::Protocol::HttpProtobuf,
        tracer_registry::config::Protocol::HttpJson,
    ] {
        let export = Export {
            protocol: Some(protocol),
            scheduled_delay: Some(Duration::from_secs(60)),
            ..quick()
        };
        let world = World::with(&["a"], |builder| builder.export(export));
        let fault = world.collector.fault(Fault::partial_success(2).times(1));
        let a = world.tenant("a");
        for name in ["one", "two", "three", "four", "five"] {
            a.start_span(name).end();
        }
        let report = world.registry.force_flush(LONG);
        assert_eq!(report.tracers[0].delivered, 3, "{protocol:?}");
        assert_eq!(report.tracers[0].dropped[&DropReason::Rejected], 2, "{protocol:?}");
        assert!(matches!(
            report.tracers[0].last_error,
            Some(ExportError::PartialSuccess { rejected: 2, .. })
        ));
        assert_eq!(world.collector.fault_hits(fault), 1);
        assert_eq!(world.names("a"), ["three", "four", "five"], "{protocol:?}");
        assert_eq!(world.project("a").summary().requests, 1);
    }
}

#[test]
fn a_success_status_counts_with_any_body() {
    let bodies = [
        ("null", r#"{"partialSuccess": null}"#),
        ("empty", ""),
        ("json", r#"{"partialSuccess": {}, "more": [1]}"#),
        ("text", "OK"),
    ];
    let mut tenants: Vec<&str> = bodies.iter().map(|(tenant, _)| *tenant).collect();
    tenants.extend(["garbage", "warning", "truncated"]);
    let world = World::new(&tenants);
    for (tenant, body) in bodies {
        world
            .collector
            .fault(Fault::status(200).body(body).only(key_of(tenant)));
    }
    let warning_response = r#"{"partialSuccess": {"rejectedSpans": 0, "errorMessage": "the clock is off"}}"#;
    world.collector.fault(Fault::garbage().only(key_of("garbage")));
    world.collector.fault(Fault::truncate().only(key_of("truncated")));
    world
        .collector
        .fault(Fault::status(200).body(warning_response).only(key_of("warning")));
    for tenant in &tenants {
        world.tenant(tenant).start_span("span").end();
    }
    world.flush();
    for tenant in &tenants {
        let status = world.status(tenant);
        assert_eq!((status.spans.delivered, status.spans.lost()), (1, 0), "{tenant}");
        let error = status.last_error.map(|error| error.to_string()).unwrap_or_default();
        let warning = match *tenant {
            "warning" => "the clock is off",
            "garbage" => "neither protobuf nor JSON",
            "truncated" => "connection broke after",
            _ => "",
        };
        assert!(error.contains(warning), "{tenant}: {error}");
        assert_eq!(error.is_empty(), warning.is_empty(), "{tenant}: {error}");
    }
}

#[test]
fn redirects_are_followed_on_the_same_host_only_and_send_no_key_elsewhere() {
    let world = World::new(&["same", "other"]);
    let other = LocalCollector::builder()
        .record_requests(1 << 20)
        .start()
        .expect("a free port");
    let same_host = format!("{}/moved/v1/traces", world.collector.url());
    world
        .collector
        .fault(Fault::redirect(same_host).times(1).only(key_of("same")));
    world
        .collector
        .fault(Fault::redirect(format!("{}/v1/traces", other.url())).only(key_of("other")));
    for tenant in ["same", "other"] {
        world.tenant(tenant).start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(world.names("same"), ["span"]);
    assert!(
        world
            .collector
            .requests()
            .iter()
            .any(|request| request.path == "/moved/v1/traces")
    );
    assert_eq!(report.lost(), 1);
    let status = world.status("other");
    assert_eq!(status.spans.dropped[&DropReason::Refused], 1);
    assert!(matches!(
        status.last_error,
        Some(ExportError::Redirect { status: 307, .. })
    ));
    assert!(other.requests().is_empty() && other.projects().is_empty());
    assert_eq!(other.requests_without_key(), 0);
}

#[test]
fn redirects_that_drop_the_body_are_not_followed() {
    let redirect = |status: u16| {
        format!("HTTP/1.1 {status} x\r\nlocation: /v1/traces/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    };
    let success = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
    for (status, followed) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let script = if followed {
            vec![redirect(status), success.clone()]
        } else {
            vec![redirect(status)]
        };
        let (url, server) = scripted(script);
        let registry = registry(&url, &[], &Fingerprinter::new())
            .tenant("a", binding("a").backend(BackendName::Otlp).endpoint(&url))
            .build()
            .expect("valid");
        registry.tenant("a").expect("configured").start_span("span").end();
        let report = registry.force_flush(LONG);
        assert_eq!(report.is_complete(), followed, "{status}: {report}");
        let requests = server.join().expect("no panic");
        assert!(
            requests.iter().all(|head| head.starts_with("POST /v1/traces")),
            "{status}: {requests:?}"
        );
    }
}

#[test]
fn spans_not_accepted_within_max_elapsed_are_dropped() {
    let export = Export {
        retry: Retry {
            initial_backoff: Some(Duration::from_millis(1)),
            max_backoff: Some(Duration::from_millis(2)),
            max_elapsed: Some(Duration::from_millis(30)),
            ..Retry::default()
        },
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let fault = world.collector.fault(Fault::status(503));
    world.tenant("a").start_span("span").end();
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::RetriesExhausted], 1);
    // Usually more than once, unless the first response comes after the limit.
    assert!(world.collector.fault_hits(fault) >= 1);
    assert!(report.to_string().contains("503"), "{report}");
}

#[test]
fn a_full_queue_drops_and_counts_the_newest_spans() {
    let export = Export {
        max_queue_size: Some(5),
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let fault = world.collector.fault(Fault::hang());
    let a = world.tenant("a");
    a.start_span("in-flight").end();
    wait_for("the request", || world.collector.fault_hits(fault), |hits| *hits == 1);
    for name in ["q1", "q2", "q3", "q4", "q5", "late-1", "late-2"] {
        a.start_span(name).end();
    }
    let spans = world.status("a").spans;
    assert_eq!((spans.accepted, spans.in_flight, spans.queued), (8, 1, 5));
    assert_eq!(spans.dropped[&DropReason::QueueFull], 2);
    world.collector.clear_faults();
    let report = world.registry.force_flush(LONG);
    assert_eq!(
        (report.tracers[0].delivered, report.lost(), report.pending()),
        (6, 2, 0)
    );
    assert_eq!(world.names("a"), ["in-flight", "q1", "q2", "q3", "q4", "q5"]);
}
