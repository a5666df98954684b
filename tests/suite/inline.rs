//! `export.mode = "inline"`: nothing is sent but by those who flush.

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

use crate::child::{is_child, variable};
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
fn nothing_is_sent_between_flushes_and_a_full_queue_drops_and_counts() {
    let export = Export {
        max_export_batch_size: Some(4),
        max_queue_size: Some(10),
        max_queue_bytes: Some(64 << 10),
        ..inline()
    };
    let world = World::with(&["a", "b"], |builder| builder.export(export));
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    // Another one that sends by itself, to see that there was time for it.
    let busy = World::new(&["a"]);
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
        busy.tenant("a").start_span("span").end();
        wait_for("a delay", || busy.names("a").len() as u64, |sent| *sent == round);
        assert_eq!(world.collector.requests().len(), before, "nothing by itself");
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
            "a dedicated one that is gone is flushed too"
        );
    }
}

#[test]
fn a_shutdown_and_a_drop_send_what_there_is() {
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
fn a_drop_keeps_its_time() {
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
fn what_passes_is_repeated_within_the_flush() {
    let world = world(&["a"]);
    let fault = world.collector.fault(Fault::status(503).times(3).on(Endpoint::Traces));
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!((world.collector.fault_hits(fault), world.names("a").len()), (3, 1));
}

#[test]
fn what_a_flush_left_is_not_given_up_for_the_time_that_everything_stood_still() {
    let export = Export {
        // Over by the time that it is thawed.
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
    let begin = || {
        drop(world.registry.force_flush(Duration::from_millis(100)));
        world.collector.fault_hits(fault)
    };
    wait_for("the request", begin, |hits| *hits == 1);
    assert_eq!(world.status("a").spans.pending(), 1);
    // Frozen for longer than anything is repeated.
    let frozen = Instant::now();
    wait_for("a while", || frozen.elapsed(), |time| *time > Duration::from_secs(4));
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
}

#[test]
fn flushes_at_the_same_time_each_keep_their_own_time() {
    let world = world(&["slow", "quick"]);
    let fault = world.collector.fault(Fault::hang().only(key_of("slow")));
    let (slow, quick) = (world.tenant("slow"), world.tenant("quick"));
    slow.start_span("span").end();
    thread::scope(|threads| {
        let long = threads.spawn(|| slow.force_flush(LONG));
        wait_for("the request", || world.collector.fault_hits(fault), |hits| *hits == 1);
        // Somebody else moves the tasks: these are moved along, or give up in time.
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
    // What came after the long one began was not its to wait for.
    world.flush();
    // One that needs longer than the one that moves the tasks takes over.
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
fn flushes_and_shutdowns_from_many_threads_all_return() {
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
    assert!(begun.elapsed() < AT_ONCE, "a shutdown ends flushes that wait");
    assert_eq!(world.status("a").spans.dropped[&DropReason::Shutdown], 1);
}

#[test]
fn endpoints_are_asked_by_a_check() {
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
async fn endpoints_are_asked_by_a_check_in_a_runtime() {
    let world = world(&["a"]);
    assert_eq!(
        world.registry.check(CheckMode::Connect)[0].connection,
        ConnectionCheck::Accepted
    );
}

#[test]
fn a_kept_connection_is_used_again_and_one_that_died_costs_a_reconnect_and_no_span() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // How many requests each connection answers before it is closed.
    let (closed, closing) = mpsc::channel();
    let server = thread::spawn(move || {
        [2, 1, 1].map(|requests| {
            let mut reader = BufReader::new(listener.accept().expect("a connection").0);
            for _ in 0..requests {
                answer(&mut reader);
            }
            drop(reader);
            closed.send(()).expect("it listens");
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
        assert_eq!(report.last_error, None, "found out before anything is sent on it");
        if flush > 1 {
            closing.recv_timeout(LONG).expect("the server closed it");
        }
    }
    server.join().expect("three connections, four requests");
}

fn answer(reader: &mut BufReader<std::net::TcpStream>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a head") > 0, "{head:?}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("a body").parse().expect("a number");
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).expect("a body");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    reader.get_mut().write_all(answer).expect("it listens");
}

#[test]
#[cfg(target_os = "linux")]
fn there_are_no_threads_before_between_and_after_flushes() {
    const TEST: &str = "inline::there_are_no_threads_before_between_and_after_flushes";
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
    // That of the local collector, which ends when it likes.
    wait_for("the collector's end", threads, |threads| *threads == 2);
    let registry = crate::support::registry(&variable(URL), &["a"], &Fingerprinter::new());
    let registry = registry.export(inline()).build().expect("valid");
    assert_eq!(threads(), 2, "the test's, and the one that waits for it");
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
fn a_name_is_resolved_on_a_thread_that_ends_with_the_look_up() {
    if !is_child::<&str>("inline::a_name_is_resolved_on_a_thread_that_ends_with_the_look_up", &[]) {
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
