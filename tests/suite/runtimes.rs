//! Tracers in each kind of tokio runtime, outside any, and in cancelled tasks; when tracers are
//! dropped.

use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TracerProvider};
use tracer_registry::TracerHandle;
use tracer_registry::config::Export;
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use crate::support::{AT_ONCE, LONG, World, quick, wait_for};

#[tokio::test]
async fn a_blocked_current_thread_runtime_does_not_stop_the_export() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    a.in_span_async("span", async |_| tokio::task::yield_now().await).await;
    let _session = a.session("s").start();
    // This blocks the only thread of the runtime.
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_many_tasks_arrive_if_the_registry_is_dropped_in_a_task() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let a = a.clone();
            tokio::spawn(async move {
                a.in_span_async(format!("outer-{n}"), async |_| {
                    tokio::task::yield_now().await;
                    a.in_span_async(format!("inner-{n}"), async |_| tokio::task::yield_now().await)
                        .await;
                })
                .await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    drop(a);
    let World { collector, registry } = world;
    drop(registry);
    let project = collector.project("a").expect("named");
    assert_eq!(project.spans().len(), 200);
    for n in 0..100 {
        let outer = project
            .span_named(&format!("outer-{n}"))
            .expect("received")
            .span_id
            .clone();
        assert_eq!(
            project
                .span_named(&format!("inner-{n}"))
                .expect("received")
                .parent_span_id,
            Some(outer)
        );
    }
}

#[tokio::test]
async fn a_registry_dropped_inside_a_runtime_neither_panics_nor_waits_longer_than_configured() {
    let export = Export {
        drop_timeout: Some(Duration::from_millis(50)),
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    world.collector.fault(Fault::hang());
    let a = world.tenant("a");
    a.start_span("span").end();
    let World { collector, registry } = world;
    let start = Instant::now();
    drop(registry);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    // A handle that outlives the registry still works; its spans are dropped.
    a.start_span("after").end();
    drop((a, collector));
}

#[test]
fn a_dropped_dedicated_tracer_is_drained_and_its_ledger_is_kept() {
    let export = Export {
        scheduled_delay: Some(Duration::from_secs(3_600)),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let pooled = world.tenant("a");
    for n in 0..20 {
        let dedicated = world.registry.dedicated(pooled.selector()).expect("configured");
        assert!(!dedicated.same_tracer(&pooled));
        dedicated.start_span(format!("span-{n}")).end();
    }
    // There is no flush, and the scheduled delay is an hour.
    wait_for("the spans", || world.names("a").len(), |spans| *spans == 20);
    let status = wait_for(
        "the drop of the lanes",
        || world.status("a"),
        |status| status.tracers == 1,
    );
    assert_eq!((status.spans.accepted, status.spans.delivered), (20, 20));
    assert!(status.last_delivery.is_some());
}

#[test]
fn dropping_a_dedicated_tracer_does_not_wait_for_a_hanging_receiver() {
    let export = Export {
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    world.collector.fault(Fault::hang());
    let selector = world.tenant("a").selector().clone();
    let start = Instant::now();
    for _ in 0..10 {
        let dedicated = world.registry.dedicated(&selector).expect("configured");
        let session = dedicated.session("s").start();
        let _inside = session.enter();
        dedicated.start_span("span").end();
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(world.status("a").tracers, 11, "a lane with unsent spans is kept");
    world.collector.clear_faults();
    world.flush();
    let status = wait_for(
        "the drop of the lanes",
        || world.status("a"),
        |status| status.tracers == 1,
    );
    assert_eq!((status.spans.delivered, status.session_events.delivered), (10, 10));
}

#[test]
fn errors_of_a_dropped_tracer_are_still_reported() {
    let world = World::new(&["a"]);
    world.collector.fault(Fault::status(422));
    let selector = world.tenant("a").selector().clone();
    world
        .registry
        .dedicated(&selector)
        .expect("configured")
        .start_span("span")
        .end();
    let status = wait_for(
        "the drop of the lane",
        || world.status("a"),
        |status| status.tracers == 1,
    );
    assert_eq!(status.spans.dropped[&DropReason::Refused], 1);
    assert!(status.last_error.is_some());
    let report = world.registry.force_flush(LONG);
    assert!(report.tracers[0].last_error.is_some() && report.lost() == 1, "{report}");
}

#[test]
fn lanes_abandoned_at_shutdown_are_dropped_with_their_tracers() {
    let world = World::with(&["a"], |builder| {
        builder.export(Export {
            timeout: Some(Duration::from_secs(60)),
            ..quick()
        })
    });
    world.collector.fault(Fault::hang());
    let selector = world.tenant("a").selector().clone();
    let before = world.registry.dedicated(&selector).expect("configured");
    before.start_span("span").end();
    drop(before);
    let after = world.registry.dedicated(&selector).expect("configured");
    after.start_span("span").end();
    let report = world.registry.shutdown(Duration::from_millis(50));
    assert_eq!(report.tracers[0].dropped[&DropReason::Shutdown], 2);
    assert_eq!(
        world.status("a").tracers,
        2,
        "the pooled tracer and the one with a handle"
    );
    drop(after);
    assert_eq!(world.status("a").tracers, 1);
    assert_eq!(world.status("a").spans.accepted, 2);
}

#[test]
fn spans_outlive_the_handle_that_started_them() {
    let world = World::new(&["a"]);
    let dedicated = world
        .registry
        .dedicated(world.tenant("a").selector())
        .expect("configured");
    let by_hand = dedicated.start_span("by-hand");
    let tracer = dedicated.tracer("library");
    drop(dedicated);
    let by_tracer = opentelemetry::trace::Tracer::start(&tracer, "by-tracer");
    drop(tracer);
    std::thread::spawn(move || drop((by_hand, by_tracer)))
        .join()
        .expect("no panic");
    wait_for("the spans", || world.names("a").len(), |spans| *spans == 2);
    wait_for(
        "the drop of the lane",
        || world.status("a").tracers,
        |tracers| *tracers == 1,
    );
}

#[test]
fn no_span_is_created_while_telemetry_is_suppressed() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        a.start_span("by-hand").end();
        a.in_span("sync", |_| a.start_span("child").end());
        let _scope = a.enter();
        a.in_span("in-scope", |_| ());
    }
    // Created outside the suppressed scope, polled inside it.
    let future = a.in_span_async("future", async |_| a.start_span("in-future").end());
    {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        futures_util::FutureExt::now_or_never(future).expect("it never waits");
    }
    a.start_span("not suppressed").end();
    world.flush();
    assert_eq!(world.names("a"), ["not suppressed"]);
    assert_eq!(world.status("a").spans.accepted, 1);
}

#[tokio::test]
async fn a_cancelled_or_panicking_future_ends_its_span() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let cancelled = tokio::spawn(a.in_span_async("cancelled", async |_| std::future::pending::<()>().await));
    tokio::task::yield_now().await;
    cancelled.abort();
    assert!(cancelled.await.expect_err("aborted").is_cancelled());
    assert!(
        tokio::spawn(panics(a.clone()))
            .await
            .expect_err("the task panics")
            .is_panic()
    );
    let unused = a.in_span_async("never-polled", async |_| ());
    drop(unused);
    let thread_tracer = a.clone();
    let thread = std::thread::spawn(move || thread_tracer.in_span("sync-panic", |_| panic!("on purpose")));
    assert!(thread.join().is_err());
    a.start_span("after").end();
    world.flush();
    let mut names = world.names("a");
    names.sort();
    assert_eq!(names, ["after", "async-panic", "cancelled", "sync-panic"]);
    assert!(
        world
            .project("a")
            .spans()
            .iter()
            .all(|span| span.parent_span_id.is_none())
    );
}

async fn panics(a: TracerHandle) {
    a.in_span_async("async-panic", async |_| {
        tokio::task::yield_now().await;
        panic!("on purpose");
    })
    .await;
}
