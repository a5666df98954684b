//! Log lines about lost data: one when losses begin, one when they end, none per span or request.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Binding, Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::{KeySource, Selector, TracerRegistry};
use tracer_registry_collector::{Endpoint, Fault};
use tracing::subscriber::with_default;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::child_process::is_child;
use crate::log::Log;
use crate::support::{LONG, World, binding, key_of, once, wait_for};

/// Limit on log lines of a registry per minute.
const LINES_PER_MINUTE: usize = 60;

/// The engine runs on the flushing thread, so the test captures its log. One attempt per flush.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

fn world(tenants: &[&str]) -> World {
    World::with(tenants, |builder| builder.export(inline()))
}

/// Exports `count` spans of a tenant.
fn send(world: &World, tenant: &str, count: usize) {
    let tracer = world.tenant(tenant);
    for _ in 0..count {
        tracer.start_span("span").end();
    }
    drop(world.registry.force_flush(LONG));
}

/// Runs `act` and asserts its log lines. Each line contains the given parts.
fn assert_lines(step: &str, act: impl FnOnce(), expected: &[&[&str]]) {
    let log = Log::with_recoveries();
    with_default(log.clone(), act);
    let lines = log.lines();
    assert_eq!(lines.len(), expected.len(), "{step}: {lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        for part in *parts {
            assert!(line.contains(part), "{step}: no {part:?} in {line:?}");
        }
    }
}

#[test]
fn a_refused_key_and_its_dropped_spans_are_each_logged_once_at_start_and_end() {
    let world = world(&["a", "b"]);
    let refused = world.collector.fault(Fault::reject_key().only(key_of("a")));
    let key = "message=receiver refuses the API key ";
    assert_lines(
        "the first refusal",
        || send(&world, "a", 3),
        &[
            &[
                "WARN ",
                key,
                "selector=tenant:a ",
                "of=\"spans\"",
                "status=401 ",
                "source=provider test, secret a ",
            ],
            &[
                "WARN ",
                "selector=tenant:a ",
                "reason=unauthorized ",
                "count=3 ",
                "answered 401",
            ],
        ],
    );
    assert_lines("more failures", || (0..3).for_each(|_| send(&world, "a", 100)), &[]);
    assert_lines("another tracer", || send(&world, "b", 1), &[]);
    world.collector.clear_fault(refused);
    assert_lines(
        "the key is accepted again",
        || send(&world, "a", 1),
        &[&["INFO ", "accepts the API key again", "selector=tenant:a ", "count=4 "]],
    );
    assert_lines(
        "no loss between two batches",
        || send(&world, "a", 1),
        &[&[
            "INFO ",
            "no longer dropped",
            "selector=tenant:a ",
            "reason=unauthorized ",
            "count=303 ",
        ]],
    );
    assert_lines("no further lines", || send(&world, "a", 1), &[]);
    world.collector.fault(Fault::reject_key().only(key_of("a")));
    assert_lines("too soon after the previous lines", || send(&world, "a", 1), &[]);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_new_key_is_logged_once_it_is_accepted_with_its_source_and_fingerprint() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, key_of("a")).expect("written");
    let world = World::with(&["b"], |builder| {
        builder
            .export(inline())
            .tenant("a", Binding::new().api_key(KeySource::file(&file)))
    });
    let held = world.tenant("a");
    assert_lines("the first key", || send(&world, "a", 1), &[]);
    std::fs::write(&file, key_of("b")).expect("written");
    let open = || drop(world.registry.dedicated(Selector::tenant("a")).expect("a readable key"));
    assert_lines("a new key that no receiver has seen", open, &[]);
    let log = Log::with_recoveries();
    with_default(log.clone(), || (0..2).for_each(|_| send(&world, "a", 1)));
    let [line] = <[String; 1]>::try_from(log.lines()).expect("one line");
    let fingerprint = format!("fingerprint={} ", held.fingerprint());
    for part in [
        "INFO ",
        "receiver accepts the new API key",
        file.to_str().expect("text"),
        &fingerprint,
    ] {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    assert!(!line.contains(&key_of("b")), "{line:?}");
}

#[test]
fn a_full_queue_is_logged_by_the_engine_not_by_the_application_thread() {
    let world = World::with(&["a"], |builder| {
        builder.export(Export {
            max_queue_size: Some(10),
            max_export_batch_size: Some(10),
            ..inline()
        })
    });
    let tracer = world.tenant("a");
    assert_lines(
        "a full queue",
        || (0..100).for_each(|_| tracer.start_span("span").end()),
        &[],
    );
    assert_lines(
        "the flush",
        || send(&world, "a", 0),
        &[&[
            "WARN ",
            "data is dropped",
            "selector=tenant:a ",
            "reason=queue_full ",
            "count=90 ",
        ]],
    );
    assert_lines(
        "two batches without a loss",
        || send(&world, "a", 1),
        &[&["INFO ", "no longer dropped", "reason=queue_full ", "count=90 "]],
    );
}

#[test]
fn dropped_session_events_are_logged_separately() {
    let world = world(&["a"]);
    let tracer = world.tenant("a");
    let refused = world.collector.fault(Fault::status(400).on(Endpoint::Sessions));
    let start = || {
        drop(tracer.session("s").start());
        drop(world.registry.force_flush(LONG));
    };
    assert_lines(
        "a refused session",
        start,
        &[&[
            "WARN ",
            "of=\"session_events\"",
            "reason=refused ",
            "count=1 ",
            "answered 400",
        ]],
    );
    world.collector.clear_fault(refused);
    assert_lines(
        "spans cause no lines",
        || (0..3).for_each(|_| send(&world, "a", 1)),
        &[],
    );
    assert_lines("an accepted session", start, &[]);
    assert_lines(
        "a second accepted session",
        start,
        &[&[
            "INFO ",
            "of=\"session_events\"",
            "no longer dropped",
            "reason=refused ",
            "count=1 ",
        ]],
    );
}

#[test]
fn a_partial_success_is_logged_with_its_message() {
    let world = world(&["a"]);
    world.collector.fault(Fault::partial_success(2).times(2));
    let rejects = "receiver rejects part of a request";
    assert_lines(
        "a partial success",
        || send(&world, "a", 5),
        &[&[
            "WARN ",
            rejects,
            "selector=tenant:a ",
            "reason=rejected ",
            "count=2 ",
            "rejected 2 spans",
        ]],
    );
    assert_lines("a second partial success", || send(&world, "a", 5), &[]);
    assert_lines("everything is accepted", || send(&world, "a", 5), &[]);
    assert_lines(
        "everything is accepted again",
        || send(&world, "a", 5),
        &[&["INFO ", "reason=rejected ", "count=4 "]],
    );
}

#[test]
fn a_tracer_breaker_is_logged_when_it_opens_and_closes() {
    let world = world(&["a"]);
    world.collector.fault(Fault::status(503).times(4));
    let down = world.collector.fault(Fault::status(502));
    let dropped: &[&str] = &["WARN ", "reason=retries_exhausted ", "count=1 ", "answered 503"];
    assert_lines(
        "five failures",
        || (0..5).for_each(|_| send(&world, "a", 1)),
        &[
            dropped,
            &[
                "WARN ",
                "tracer breaker opened",
                "selector=tenant:a ",
                "of=\"spans\"",
                "failures=5 ",
                "answered 502",
            ],
        ],
    );
    assert_lines("more failures", || (0..5).for_each(|_| send(&world, "a", 1)), &[]);
    world.collector.clear_fault(down);
    assert_lines(
        "the receiver recovers",
        || send(&world, "a", 1),
        &[&["INFO ", "tracer breaker closed", "selector=tenant:a "]],
    );
}

#[test]
fn an_endpoint_breaker_is_logged_once_for_all_its_tracers() {
    let (down, up) = unreachable();
    let world = World::with(&["a", "b"], |builder| {
        builder
            .export(inline())
            .tenant("a", binding("a").endpoint(&down))
            .tenant("b", binding("b").endpoint(&down))
    });
    let endpoint_lines = |lines: Vec<String>| {
        let of_endpoint = lines.into_iter().filter(|line| line.contains("endpoint breaker"));
        of_endpoint.collect::<Vec<_>>()
    };
    let log = Log::with_recoveries();
    with_default(log.clone(), || {
        for _ in 0..5 {
            send(&world, "a", 1);
            send(&world, "b", 1);
        }
    });
    let lines = endpoint_lines(log.lines());
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(
        line.starts_with("WARN ") && line.contains(&format!("endpoint={down:?}")),
        "{line}"
    );
    let server = up();
    let log = Log::with_recoveries();
    with_default(log.clone(), || send(&world, "b", 1));
    let lines = endpoint_lines(log.lines());
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(line.starts_with("INFO ") && line.contains("closed"), "{line}");
    server.join().expect("no panic");
}

/// Returns an endpoint without a listener, and a function that lets it serve one request.
fn unreachable() -> (String, impl FnOnce() -> thread::JoinHandle<()>) {
    use std::io::Write as _;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("bound"));
    drop(entered);
    let up = move || {
        let listener = {
            let _entered = runtime.enter();
            let listener = socket.listen(16).expect("a listener").into_std().expect("a listener");
            listener.set_nonblocking(false).expect("blocking mode");
            listener
        };
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(response).expect("an open connection");
            // Read until the client closes. A reset could discard the response.
            std::io::copy(&mut stream, &mut std::io::sink()).expect("the client closes");
        })
    };
    (url, up)
}

#[test]
fn a_full_pool_is_logged_when_look_ups_fail_and_when_they_succeed_again() {
    let names = ["a", "b", "c", "d"];
    let world = World::with(&names, |builder| {
        builder.export(inline()).pool(Pool {
            max_tracers: Some(1),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let held = world.tenant("a");
    assert_lines(
        "several refused look-ups",
        || {
            for name in ["b", "c", "d", "b"] {
                world.registry.tenant(name).expect_err("full");
            }
        },
        &[&[
            "WARN ",
            "the pool is full",
            "selector=tenant:b ",
            "max_tracers=1 ",
            "count=1 ",
        ]],
    );
    drop(held);
    assert_lines(
        "free capacity",
        || drop(world.tenant("b")),
        &[&["INFO ", "has free slots again", "count=4 "]],
    );
    let _held = world.tenant("c");
    assert_lines(
        "too soon after the previous line",
        || drop(world.registry.tenant("d").expect_err("full")),
        &[],
    );
}

#[test]
fn log_lines_of_many_failing_tenants_are_limited() {
    let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = world(&names);
    world.collector.fault(Fault::reject_key());
    let (log, begun) = (Log::with_recoveries(), Instant::now());
    with_default(log.clone(), || {
        for name in &names {
            world.tenant(name).start_span("span").end();
        }
        for _ in 0..3 {
            drop(world.registry.force_flush(LONG));
        }
    });
    let windows = 1 + usize::try_from(begun.elapsed().as_secs() / 60).expect("a test is short");
    let lines = log.lines();
    assert!(
        (LINES_PER_MINUTE..=LINES_PER_MINUTE * windows).contains(&lines.len()),
        "{} lines",
        lines.len()
    );
    assert_eq!(
        world.registry.status().tracers.len(),
        200,
        "the status lists all tenants"
    );
}

/// Uses the registry from another thread while a line is written.
struct LockProbe {
    registry: TracerRegistry,
    unblocked: std::sync::mpsc::Sender<bool>,
}

impl<S: tracing::Subscriber> Layer<S> for LockProbe {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let registry = self.registry.clone();
        let (done, is_done) = channel();
        thread::spawn(move || {
            let tracers = registry.status().tracers.len();
            registry.tenant("a").expect("configured").start_span("of the log").end();
            done.send(tracers)
        });
        let unblocked = is_done.recv_timeout(Duration::from_secs(20)).is_ok();
        self.unblocked.send(unblocked).expect("the test is running");
    }
}

#[test]
fn no_log_line_is_written_under_a_lock() {
    let world = World::with(&["a", "b"], |builder| {
        builder.export(inline()).pool(Pool {
            max_tracers: Some(1),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let (unblocked, results) = channel();
    let log = tracing_subscriber::registry().with(LockProbe {
        registry: world.registry.clone(),
        unblocked,
    });
    with_default(log, || {
        let held = world.tenant("a");
        let refused = world.collector.fault(Fault::reject_key());
        (0..6).for_each(|_| send(&world, "a", 1));
        world.collector.clear_fault(refused);
        (0..3).for_each(|_| send(&world, "a", 1));
        world.registry.tenant("b").expect_err("full");
        drop(held);
    });
    let results: Vec<bool> = results.try_iter().collect();
    assert!(
        results.len() >= 7,
        "start and end of key refusal, breaker and drops, and the full pool: {results:?}"
    );
    assert!(results.iter().all(|unblocked| *unblocked), "{results:?}");
}

#[test]
fn the_background_engine_logs_to_the_global_subscriber() {
    const TEST: &str = "health_log::the_background_engine_logs_to_the_global_subscriber";
    if !is_child::<&str>(TEST, &[]) {
        return;
    }
    let log = Log::with_recoveries();
    tracing::subscriber::set_global_default(log.clone()).expect("the first subscriber of this process");
    let world = World::with(&["a"], |builder| {
        builder.export(Export {
            max_queue_size: Some(10),
            max_export_batch_size: Some(10),
            scheduled_delay: Some(Duration::from_secs(3600)),
            ..once()
        })
    });
    let hang = world.collector.fault(Fault::hang());
    let tracer = world.tenant("a");
    (0..100).for_each(|_| tracer.start_span("span").end());
    let is_logged = |lines: &Vec<String>, text: &str| lines.iter().any(|line| line.contains(text));
    wait_for(
        "the full queue",
        || log.lines(),
        |lines| is_logged(lines, "reason=queue_full "),
    );
    world.collector.fault(Fault::reject_key());
    world.collector.clear_fault(hang);
    drop(world.registry.force_flush(LONG));
    send(&world, "a", 1);
    let lines = log.lines();
    assert!(
        is_logged(&lines, "receiver refuses the API key") && is_logged(&lines, "reason=unauthorized "),
        "{lines:#?}"
    );
    assert!(lines.iter().all(|line| line.starts_with("WARN ")), "{lines:#?}");
}
