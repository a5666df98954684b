//! A forked child does not touch the spool of its parent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::time::Duration;

use fork::{Fork, WEXITSTATUS, WIFEXITED, fork, waitpid};
use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{Spool, SpoolMode};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::SelectorKind;
use tracer_registry::{Selector, TracerHandle, TracerRegistry};

use crate::child_process::{is_child, variable};
use crate::support::{LONG, collector, registry, wait_for};

const URL: &str = "COLLECTOR_URL";
const SPANS: usize = 5;

#[test]
fn a_forked_child_neither_sends_nor_changes_what_is_on_disk() {
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let test = "spool::fork::a_forked_child_neither_sends_nor_changes_what_is_on_disk";
    if is_child(test, &[(URL, collector.url())]) {
        drop(collector);
        return [SpoolMode::Overflow, SpoolMode::Through].into_iter().for_each(parent);
    }
    let names: Vec<String> = collector
        .project("a")
        .expect("named")
        .spans()
        .iter()
        .map(|span| span.name.clone())
        .collect();
    let expected: Vec<String> = (0..SPANS).map(|number| number.to_string()).collect();
    assert_eq!(names, [expected.clone(), expected].concat());
}

fn parent(mode: SpoolMode) {
    let folder = TempDir::new().expect("a folder");
    let spool = Spool {
        mode: Some(mode),
        path: Some(folder.path().join("spool")),
        max_bytes: Some(64 << 20),
        ..Spool::default()
    };
    let start = || {
        let builder = registry(&variable(URL), &["a"], &Fingerprinter::new());
        builder.spool(spool.clone()).build().expect("valid")
    };
    let registry = start();
    let tracer = registry.tenant("a").expect("configured");
    let selector = tracer.selector().clone();
    assert_eq!(
        selector.parts().next().map(|(kind, _)| kind),
        Some(SelectorKind::Tenant)
    );
    registry.pause(&selector).expect("configured");
    for number in 0..SPANS {
        tracer.start_span(number.to_string()).end();
    }
    let spans = |registry: &TracerRegistry| {
        let status = registry.tracer_status(&selector).expect("not forked");
        status.expect("used").spans
    };
    let accepted = || spans(&registry).accepted;
    wait_for("the spans", accepted, |accepted| *accepted == SPANS as u64);
    match fork().expect("a new process") {
        Fork::Child => {
            let run = AssertUnwindSafe(|| child(registry, &tracer, &selector));
            // Without the destructors of the test's thread.
            process::exit(i32::from(catch_unwind(run).is_err()))
        }
        Fork::Parent(child) => {
            let status = waitpid(child).expect("a child");
            assert!(WIFEXITED(status) && WEXITSTATUS(status) == 0, "{status}");
        }
    }
    registry.resume(&selector).expect("a selector");
    let delivered = || spans(&registry).delivered;
    wait_for("the spans", delivered, |delivered| *delivered == SPANS as u64);
    let report = registry.shutdown(LONG);
    assert!(report.is_complete() && report.spooled() == 0, "{report}");
    drop((tracer, registry));
    // The folder is free, and nothing is in it.
    let again = start();
    assert_eq!(again.status().tracers.len(), 0);
    assert!(again.shutdown(LONG).is_complete());
}

fn child(registry: TracerRegistry, tracer: &TracerHandle, selector: &Selector) {
    for _ in 0..2_000 {
        tracer.start_span("of the child").end();
    }
    drop(tracer.session("s").start());
    drop(registry.resume(selector));
    assert!(registry.force_flush(Duration::from_secs(1)).forked);
    assert!(tracer.force_flush(Duration::from_secs(1)).forked);
    assert!(registry.shutdown(Duration::from_secs(1)).forked);
    drop(registry);
}
