//! Flush of a single tracer.

use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::TracerHandle;
use tracer_registry::config::{Export, ExportMode};
use tracer_registry::report::TracerReport;
use tracer_registry::status::DropReason;
use tracer_registry_collector::{Endpoint, Fault};

use crate::support::{AT_ONCE, LONG, World, key_of, quick, wait_for};

const MODES: [ExportMode; 2] = [ExportMode::Background, ExportMode::Inline];

/// Exports only on a flush.
fn on_flush_only(mode: ExportMode) -> Export {
    Export {
        mode: Some(mode),
        scheduled_delay: Some(Duration::from_secs(3_600)),
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    }
}

fn world(mode: ExportMode) -> World {
    World::with(&["a", "b"], |builder| builder.export(on_flush_only(mode)))
}

fn pending(report: &TracerReport) -> (u64, u64) {
    (report.pending, report.session_events.pending)
}

#[test]
fn a_tracer_flush_ends_at_its_timeout_and_reports_pending_entries() {
    for mode in MODES {
        let world = world(mode);
        world.collector.fault(Fault::hang().only(key_of("a")));
        let (a, b) = (world.tenant("a"), world.tenant("b"));
        let _session = a.session("s").start();
        a.start_span("span").end();
        b.start_span("queued").end();
        let start = Instant::now();
        let report = a.force_flush(Duration::from_millis(200));
        assert!(start.elapsed() >= Duration::from_millis(200), "{mode:?}");
        assert!(start.elapsed() < AT_ONCE, "{mode:?}: {:?}", start.elapsed());
        assert_eq!(
            (pending(&report), report.is_complete()),
            ((1, 1), false),
            "{mode:?}: {report}"
        );
        assert_eq!(world.status("b").spans.queued, 1, "the span of b must stay queued");
        assert!(world.names("b").is_empty());
        // The flush of another tracer neither waits for this one nor reports it.
        let start = Instant::now();
        let report = b.force_flush(LONG);
        assert!(start.elapsed() < AT_ONCE, "{mode:?}: {:?}", start.elapsed());
        assert_eq!(
            (report.selector.to_string().as_str(), report.delivered),
            ("tenant:b", 1)
        );
        world.collector.clear_faults();
        world.flush();
    }
}

#[test]
fn a_tracer_flush_sends_nothing_of_other_tracers() {
    for mode in MODES {
        let world = world(mode);
        let (a, b) = (world.tenant("a"), world.tenant("b"));
        // The background mode sends full batches and session events without a flush.
        let spans_of_b = if mode == ExportMode::Inline { 2000 } else { 3 };
        for _ in 0..3 {
            a.start_span("a").end();
        }
        for _ in 0..spans_of_b {
            b.start_span("b").end();
        }
        let _session_of_b = (mode == ExportMode::Inline).then(|| b.session("s").start());
        let _session = a.session("s").start();
        let report = a.force_flush(LONG);
        assert!(report.is_complete(), "{report}");
        assert_eq!((report.delivered, report.session_events.delivered), (3, 1));
        assert_eq!((world.names("a").len(), world.names("b").len()), (3, 0));
        assert_eq!(world.status("b").spans.queued, spans_of_b);
        assert!(world.project("b").sessions().is_empty());
    }
}

#[test]
fn a_loss_is_in_exactly_one_report() {
    for mode in MODES {
        let world = world(mode);
        let a = world.tenant("a");
        let dedicated = world.registry.dedicated(a.selector()).expect("configured");
        let lose = |tracers: &[&TracerHandle]| {
            world.collector.fault(
                Fault::status(400)
                    .times(u32::try_from(tracers.len()).expect("few"))
                    .on(Endpoint::Traces),
            );
            for tracer in tracers {
                tracer.start_span("lost").end();
            }
        };
        lose(&[&a]);
        let first = a.force_flush(LONG);
        assert_eq!((first.lost(), first.dropped[&DropReason::Refused]), (1, 1), "{first}");
        assert_eq!((a.force_flush(LONG).lost(), dedicated.force_flush(LONG).lost()), (0, 0));
        assert_eq!(
            world.registry.force_flush(LONG).lost(),
            0,
            "already reported by the handle"
        );

        lose(&[&a, &dedicated]);
        assert_eq!(
            dedicated.force_flush(LONG).lost(),
            1,
            "only the loss of the dedicated tracer"
        );
        assert_eq!(
            world.registry.force_flush(LONG).lost(),
            1,
            "the loss of the pooled tracer"
        );
        assert_eq!((a.force_flush(LONG).lost(), dedicated.force_flush(LONG).lost()), (0, 0));

        // Dropping a tracer neither hides nor repeats a loss.
        lose(&[&dedicated]);
        assert_eq!(dedicated.force_flush(LONG).lost(), 1);
        drop(dedicated);
        let is_removed = || world.registry.force_flush(LONG).lost() == 0 && world.status("a").tracers == 1;
        wait_for("the lane to be removed", is_removed, |is_removed| *is_removed);
        assert_eq!(world.registry.shutdown(LONG).lost(), 0);
        assert_eq!(world.status("a").spans.lost(), 4);
    }
}

#[test]
fn a_tracer_flush_after_the_registry_is_dropped_returns_at_once() {
    for mode in MODES {
        let World { registry, collector } = world(mode);
        let a = registry.tenant("a").expect("configured");
        a.start_span("span").end();
        drop(registry);
        a.start_span("after").end();
        let start = Instant::now();
        let report = a.force_flush(LONG);
        assert!(start.elapsed() < AT_ONCE);
        assert_eq!(
            (report.delivered, report.lost(), pending(&report)),
            (0, 0, (0, 0)),
            "{report}"
        );
        assert_eq!(collector.project("a").expect("named").spans().len(), 1);
    }
}

fn flush_and_drop(mode: ExportMode) {
    let world = world(mode);
    let a = world.tenant("a");
    let session = a.session("s").start();
    a.start_span("one").end();
    assert!(a.force_flush(LONG).is_complete());
    a.start_span("two").end();
    session.end();
    world.flush();
    a.start_span("three").end();
    let World { registry, collector } = world;
    drop((a, session));
    drop(registry);
    assert_eq!(collector.project("a").expect("named").spans().len(), 3);
}

#[tokio::test]
async fn flush_and_drop_work_in_a_current_thread_runtime() {
    MODES.into_iter().for_each(flush_and_drop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn flush_and_drop_work_in_a_multi_thread_runtime() {
    for mode in MODES {
        flush_and_drop(mode);
        tokio::task::spawn_blocking(move || flush_and_drop(mode))
            .await
            .expect("no panic");
    }
}

#[test]
fn flush_and_drop_work_without_a_runtime() {
    MODES.into_iter().for_each(flush_and_drop);
    thread::spawn(|| MODES.into_iter().for_each(flush_and_drop))
        .join()
        .expect("no panic");
}
