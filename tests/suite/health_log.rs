//! What the log says while spans are lost: a line when it begins, one when it is over, and none for each span or request.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool};
use tracer_registry_collector::{Endpoint, Fault};
use tracing::subscriber::with_default;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::child::is_child;
use crate::log::Log;
use crate::support::{LONG, World, binding, key_of, once, wait_for};

/// Lines of a registry in a minute.
const LINES: usize = 60;

/// The engine works on the thread that flushes, whose log the test has. One attempt in each flush.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

fn world(tenants: &[&str]) -> World {
    World::with(tenants, |builder| builder.export(inline()))
}

/// Sends `count` spans of a tenant.
fn send(world: &World, tenant: &str, count: usize) {
    let tracer = world.tenant(tenant);
    for _ in 0..count {
        tracer.start_span("span").end();
    }
    drop(world.registry.force_flush(LONG));
}

/// The lines that `act` causes, each with what must be in it.
fn assert_lines(what: &str, act: impl FnOnce(), expected: &[&[&str]]) {
    let log = Log::with_recoveries();
    with_default(log.clone(), act);
    let lines = log.lines();
    assert_eq!(lines.len(), expected.len(), "{what}: {lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        for part in *parts {
            assert!(line.contains(part), "{what}: no {part:?} in {line:?}");
        }
    }
}

#[test]
fn a_refused_key_and_the_spans_that_it_costs_have_a_line_each_and_one_when_they_are_over() {
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
    assert_lines("more of them", || (0..3).for_each(|_| send(&world, "a", 100)), &[]);
    assert_lines("another tracer", || send(&world, "b", 1), &[]);
    world.collector.clear_fault(refused);
    assert_lines(
        "the key is good again",
        || send(&world, "a", 1),
        &[&["INFO ", "accepts the API key again", "selector=tenant:a ", "count=4 "]],
    );
    assert_lines(
        "nothing was lost between two batches",
        || send(&world, "a", 1),
        &[&[
            "INFO ",
            "no longer dropped",
            "selector=tenant:a ",
            "reason=unauthorized ",
            "count=303 ",
        ]],
    );
    assert_lines("all is well", || send(&world, "a", 1), &[]);
    world.collector.fault(Fault::reject_key().only(key_of("a")));
    assert_lines("too soon after the last lines", || send(&world, "a", 1), &[]);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_full_queue_is_reported_by_the_engine_and_not_by_the_thread_that_makes_the_span() {
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
fn session_events_that_are_dropped_have_lines_of_their_own() {
    let world = world(&["a"]);
    let tracer = world.tenant("a");
    let refused = world.collector.fault(Fault::status(400).on(Endpoint::Sessions));
    let start = || {
        drop(tracer.session("s").start());
        drop(world.registry.force_flush(LONG));
    };
    assert_lines(
        "a session that is refused",
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
        "spans say nothing of it",
        || (0..3).for_each(|_| send(&world, "a", 1)),
        &[],
    );
    assert_lines("one that is taken", start, &[]);
    assert_lines(
        "and another",
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
fn a_receiver_that_rejects_part_has_a_line_with_its_words() {
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
    assert_lines("another one", || send(&world, "a", 5), &[]);
    assert_lines("it takes all", || send(&world, "a", 5), &[]);
    assert_lines(
        "again",
        || send(&world, "a", 5),
        &[&["INFO ", "reason=rejected ", "count=4 "]],
    );
}

#[test]
fn a_breaker_of_a_tracer_has_a_line_when_it_opens_and_one_when_it_closes() {
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
    assert_lines("more of them", || (0..5).for_each(|_| send(&world, "a", 1)), &[]);
    world.collector.clear_fault(down);
    assert_lines(
        "it is back",
        || send(&world, "a", 1),
        &[&["INFO ", "tracer breaker closed", "selector=tenant:a "]],
    );
}

#[test]
fn a_breaker_of_an_endpoint_has_one_line_for_all_who_send_there() {
    let (down, up) = unreachable();
    let world = World::with(&["a", "b"], |builder| {
        builder
            .export(inline())
            .tenant("a", binding("a").endpoint(&down))
            .tenant("b", binding("b").endpoint(&down))
    });
    let opened = |lines: Vec<String>| {
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
    let lines = opened(log.lines());
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(
        line.starts_with("WARN ") && line.contains(&format!("endpoint={down:?}")),
        "{line}"
    );
    let served = up();
    let log = Log::with_recoveries();
    with_default(log.clone(), || send(&world, "b", 1));
    let lines = opened(log.lines());
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(line.starts_with("INFO ") && line.contains("closed"), "{line}");
    served.join().expect("it served");
}

/// An endpoint that nothing listens on, and what has it serve a request.
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
            let listener = socket.listen(16).expect("it listens").into_std().expect("taken out");
            listener.set_nonblocking(false).expect("it blocks");
            listener
        };
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).expect("it is there");
            // Until the client closes: a reset would take the answer with it.
            std::io::copy(&mut stream, &mut std::io::sink()).expect("it reads");
        })
    };
    (url, up)
}

#[test]
fn a_pool_that_is_full_has_a_line_when_look_ups_are_refused_and_one_when_they_succeed_again() {
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
        "the first that is refused, and others",
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
        "room",
        || drop(world.tenant("b")),
        &[&["INFO ", "has room again", "count=4 "]],
    );
    let _held = world.tenant("c");
    assert_lines("too soon", || drop(world.registry.tenant("d").expect_err("full")), &[]);
}

#[test]
fn hundreds_of_failing_tenants_do_not_flood_the_log() {
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
        (LINES..=LINES * windows).contains(&lines.len()),
        "{} lines",
        lines.len()
    );
    assert_eq!(world.registry.status().tracers.len(), 200, "status has all of them");
}

/// Looks at the registry from another thread while a line is written.
struct Curious {
    registry: TracerRegistry,
    could: std::sync::mpsc::Sender<bool>,
}

impl<S: tracing::Subscriber> Layer<S> for Curious {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let registry = self.registry.clone();
        let (done, is_done) = channel();
        thread::spawn(move || {
            let tracers = registry.status().tracers.len();
            registry.tenant("a").expect("configured").start_span("of the log").end();
            done.send(tracers)
        });
        let could = is_done.recv_timeout(Duration::from_secs(20)).is_ok();
        self.could.send(could).expect("the test is there");
    }
}

#[test]
fn no_line_is_written_under_a_lock() {
    let world = World::with(&["a", "b"], |builder| {
        builder.export(inline()).pool(Pool {
            max_tracers: Some(1),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let (could, heard) = channel();
    let log = tracing_subscriber::registry().with(Curious {
        registry: world.registry.clone(),
        could,
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
    let heard: Vec<bool> = heard.try_iter().collect();
    assert!(
        heard.len() >= 7,
        "key, breaker and drops, both ways, and the pool: {heard:?}"
    );
    assert!(heard.iter().all(|could| *could), "{heard:?}");
}

#[test]
fn in_the_background_the_engine_writes_the_lines_to_the_programs_log() {
    const TEST: &str = "health_log::in_the_background_the_engine_writes_the_lines_to_the_programs_log";
    if !is_child::<&str>(TEST, &[]) {
        return;
    }
    let log = Log::with_recoveries();
    tracing::subscriber::set_global_default(log.clone()).expect("the only one of this process");
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
    let is_said = |lines: &Vec<String>, said: &str| lines.iter().any(|line| line.contains(said));
    wait_for(
        "the full queue",
        || log.lines(),
        |lines| is_said(lines, "reason=queue_full "),
    );
    world.collector.fault(Fault::reject_key());
    world.collector.clear_fault(hang);
    drop(world.registry.force_flush(LONG));
    send(&world, "a", 1);
    let lines = log.lines();
    assert!(
        is_said(&lines, "receiver refuses the API key") && is_said(&lines, "reason=unauthorized "),
        "{lines:#?}"
    );
    assert!(lines.iter().all(|line| line.starts_with("WARN ")), "{lines:#?}");
}
