//! `export.mode = "inline"`: only a flush sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::config::{Export, ExportMode, Retry};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, TracerRegistry};
use tracer_registry_collector::{Endpoint, Fault};

use crate::child_process::{is_child, variable};
use crate::support::{AT_ONCE, LONG, World, binding, key_of, keys, quick, wait_for};

fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    }
}

fn world(tenants: &[&str]) -> World {
    World::with(tenants, |builder| builder.export(inline()))
}

#[test]
fn nothing_is_sent_between_flushes_and_a_full_queue_counts_drops() {
    let export = Export {
        max_export_batch_size: Some(4),
        max_queue_size: Some(10),
        max_queue_bytes: Some(64 << 10),
        ..inline()
    };
    let world = World::with(&["a", "b"], |builder| builder.export(export));
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    // A background registry, to measure that an export would have happened.
    let background = World::new(&["a"]);
    for round in 1..=3_u64 {
        let session = a.session("s").start();
        session.enrich(Enrichment::new().metadata("round", round));
        for n in 0..12 {
            a.start_span(format!("{round}-{n}")).end();
        }
        let dedicated = world.registry.dedicated(b.selector()).expect("configured");
        dedicated.start_span("of a request").end();
        drop(dedicated);
        let before = world.collector.requests().len();
        background.tenant("a").start_span("span").end();
        wait_for(
            "a background export",
            || background.names("a").len() as u64,
            |sent| *sent == round,
        );
        assert_eq!(
            world.collector.requests().len(),
            before,
            "nothing is sent without a flush"
        );
        let status = world.status("a");
        assert_eq!((status.spans.queued, status.session_events.queued), (10, 2));
        let report = world.registry.force_flush(LONG);
        let of_a = &report.tracers[0];
        assert_eq!(
            (of_a.delivered, of_a.dropped[&DropReason::QueueFull]),
            (10, 2),
            "{report}"
        );
        assert_eq!((of_a.session_events.delivered, report.pending()), (2, 0), "{report}");
        assert_eq!(world.names("a").len() as u64, round * 10);
        assert_eq!(
            world.names("b").len() as u64,
            round,
            "a dropped dedicated tracer is flushed too"
        );
    }
}

#[test]
fn shutdown_and_drop_send_queued_data() {
    let world = world(&["a"]);
    let a = world.tenant("a");
    a.start_span("span").end();
    a.session("s").start().end();
    let report = world.registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    a.start_span("after").end();
    assert_eq!(world.registry.shutdown(LONG).lost(), 1);
    assert_eq!((world.names("a").len(), world.project("a").sessions().len()), (1, 1));

    let World { registry, collector } = self::world(&["a"]);
    registry.tenant("a").expect("configured").start_span("span").end();
    drop(registry);
    assert_eq!(collector.project("a").expect("named").spans().len(), 1);
}

#[test]
fn a_drop_ends_at_its_timeout() {
    let export = Export {
        drop_timeout: Some(Duration::from_millis(100)),
        ..inline()
    };
    let World { registry, collector } = World::with(&["a"], |builder| builder.export(export));
    collector.fault(Fault::hang());
    registry.tenant("a").expect("configured").start_span("span").end();
    let begun = Instant::now();
    drop(registry);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn transient_failures_are_retried_within_the_flush() {
    let world = world(&["a"]);
    let fault = world.collector.fault(Fault::status(503).times(3).on(Endpoint::Traces));
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!((world.collector.fault_hits(fault), world.names("a").len()), (3, 1));
}

#[test]
fn time_between_flushes_does_not_count_against_max_elapsed() {
    let export = Export {
        // Expires during the pause.
        timeout: Some(Duration::from_millis(1_500)),
        retry: Retry {
            max_elapsed: Some(Duration::from_secs(3)),
            ..quick().retry
        },
        ..inline()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let fault = world.collector.fault(Fault::hang().times(1));
    world.tenant("a").start_span("span").end();
    let flush_briefly = || {
        drop(world.registry.force_flush(Duration::from_millis(100)));
        world.collector.fault_hits(fault)
    };
    wait_for("the request", flush_briefly, |hits| *hits == 1);
    assert_eq!(world.status("a").spans.pending(), 1);
    // Pause for longer than max_elapsed.
    let paused = Instant::now();
    wait_for("a pause", || paused.elapsed(), |time| *time > Duration::from_secs(4));
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
}

#[test]
fn concurrent_flushes_each_keep_their_own_timeout() {
    let world = world(&["slow", "quick"]);
    let fault = world.collector.fault(Fault::hang().only(key_of("slow")));
    let (slow, quick) = (world.tenant("slow"), world.tenant("quick"));
    slow.start_span("span").end();
    thread::scope(|threads| {
        let long = threads.spawn(|| slow.force_flush(LONG));
        wait_for("the request", || world.collector.fault_hits(fault), |hits| *hits == 1);
        // The long flush drives the engine. Other flushes complete or end at their timeout.
        let begun = Instant::now();
        for n in 0..20 {
            quick.start_span(format!("{n}")).end();
            assert!(quick.force_flush(LONG).is_complete());
        }
        slow.start_span("another").end();
        let report = slow.force_flush(Duration::from_millis(50));
        assert_eq!(report.pending, 2, "{report}");
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        assert!(!long.is_finished());
        world.collector.clear_faults();
        assert!(long.join().expect("no panic").is_complete());
    });
    // The long flush did not wait for spans that ended after its start.
    world.flush();
    // A flush that lasts longer than the driving one takes over.
    world.collector.fault(Fault::hang().only(key_of("slow")));
    slow.start_span("span").end();
    thread::scope(|threads| {
        let short = threads.spawn(|| slow.force_flush(Duration::from_millis(100)).pending);
        let long = threads.spawn(|| slow.force_flush(LONG).pending);
        assert_eq!(short.join().expect("no panic"), 1);
        world.collector.clear_faults();
        assert_eq!(long.join().expect("no panic"), 0);
    });
}

#[test]
fn concurrent_flushes_and_shutdowns_all_return() {
    let world = world(&["a"]);
    world.collector.fault(Fault::hang());
    let a = world.tenant("a");
    a.start_span("span").end();
    let begun = Instant::now();
    thread::scope(|threads| {
        for n in 0..6 {
            let (world, a) = (&world, &a);
            threads.spawn(move || match n % 3 {
                0 => drop(world.registry.force_flush(LONG)),
                1 => drop(a.force_flush(LONG)),
                _ => drop(world.registry.shutdown(Duration::from_millis(100))),
            });
        }
    });
    assert!(begun.elapsed() < AT_ONCE, "a shutdown ends waiting flushes");
    assert_eq!(world.status("a").spans.dropped[&DropReason::Shutdown], 1);
}

#[test]
fn a_connection_check_sends_requests_in_inline_mode() {
    let world = world(&["a", "b"]);
    world.collector.fault(Fault::status(401).only(key_of("b")));
    let checked = world.registry.check(CheckMode::Connect);
    assert_eq!(checked[0].connection, ConnectionCheck::Accepted);
    assert!(
        matches!(checked[1].connection, ConnectionCheck::Failed(_)),
        "{checked:?}"
    );
}

#[tokio::test]
async fn a_connection_check_works_inside_an_async_runtime() {
    let world = world(&["a"]);
    assert_eq!(
        world.registry.check(CheckMode::Connect)[0].connection,
        ConnectionCheck::Accepted
    );
}

#[test]
fn connections_are_reused_and_a_closed_one_costs_a_reconnect_and_no_span() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // Number of requests that each connection serves before the server closes it.
    let (closed_tx, closed_rx) = mpsc::channel();
    let server = thread::spawn(move || {
        [2, 1, 1].map(|requests| {
            let mut reader = BufReader::new(listener.accept().expect("a connection").0);
            for _ in 0..requests {
                serve(&mut reader);
            }
            drop(reader);
            closed_tx.send(()).expect("an open channel");
        })
    });
    let registry = TracerRegistry::builder()
        .fingerprinter(Fingerprinter::new())
        .secret_source("test", keys())
        .tenant(
            "a",
            binding("a")
                .endpoint(url)
                .backend(tracer_registry::config::BackendName::Otlp),
        )
        .export(inline())
        .build()
        .expect("valid");
    let a = registry.tenant("a").expect("configured");
    for flush in 1..=4 {
        a.start_span("span").end();
        let report = a.force_flush(LONG);
        assert_eq!((report.delivered, report.is_complete()), (1, true), "{report}");
        assert_eq!(
            report.last_error, None,
            "a closed connection is detected before the request"
        );
        if flush > 1 {
            closed_rx.recv_timeout(LONG).expect("the server closes the connection");
        }
    }
    server.join().expect("no panic");
}

fn serve(reader: &mut BufReader<std::net::TcpStream>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a head") > 0, "{head:?}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("a body").parse().expect("a number");
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).expect("a body");
    let serve = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    reader.get_mut().write_all(serve).expect("an open channel");
}

#[test]
#[cfg(target_os = "linux")]
fn inline_mode_has_no_threads() {
    const TEST: &str = "inline::inline_mode_has_no_threads";
    const URL: &str = "COLLECTOR_URL";
    let collector = crate::support::collector(&["a"], &Fingerprinter::new())
        .start()
        .expect("a free port");
    if !is_child(TEST, &[(URL, collector.url())]) {
        assert_eq!(collector.project("a").expect("named").spans().len(), 3);
        return;
    }
    drop(collector);
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux").count();
    // The thread of the collector ends asynchronously.
    wait_for("the collector's end", threads, |threads| *threads == 2);
    let registry = crate::support::registry(&variable(URL), &["a"], &Fingerprinter::new());
    let registry = registry.export(inline()).build().expect("valid");
    assert_eq!(threads(), 2, "the test thread and the main thread");
    for _ in 0..3 {
        let a = registry.tenant("a").expect("configured");
        a.start_span("span").end();
        assert_eq!(threads(), 2);
        assert!(registry.force_flush(LONG).is_complete());
        assert_eq!(threads(), 2);
    }
    assert!(registry.shutdown(LONG).is_complete());
    assert_eq!(threads(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn the_dns_thread_of_inline_mode_ends_after_resolution() {
    if !is_child::<&str>("inline::the_dns_thread_of_inline_mode_ends_after_resolution", &[]) {
        return;
    }
    let world = World::with(&["a"], |builder| builder.export(inline()));
    let named = world.collector.url().replace("127.0.0.1", "localhost");
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let registry = crate::support::registry(&named, &["a"], &Fingerprinter::new());
    let registry = registry.export(inline()).build().expect("valid");
    let before = threads();
    registry.tenant("a").expect("configured").start_span("span").end();
    assert!(registry.force_flush(LONG).is_complete());
    wait_for("the thread's end", threads, |threads| *threads <= before);
    assert_eq!(world.names("a").len(), 1);
}
