//! A system that has no thread to give. Each test is a process whose threads have large stacks, and which has address space for few of them:
//! that holds for every user, while the limit of processes does not for root.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::SecretString;
use tracer_registry::config::{BackendName, Binding, Export, ExportMode, Retry};
use tracer_registry::error::EngineError;
use tracer_registry::secret::{Fingerprinter, SecretError};
use tracer_registry::{BuildError, KeySource, TracerRegistry};
use tracer_registry_collector::Fault;

use crate::child_process::is_child;
#[cfg(feature = "watch")]
use crate::log::Log;
use crate::support::{LONG, World, collector, key_of, quick, wait_for};

const STACK: u64 = 512 << 20;

fn has_few_threads(test: &str) -> bool {
    is_child(test, &[("RUST_MIN_STACK", STACK.to_string())])
}

/// Leaves address space for as many more threads, and some for other things.
fn allow_threads(count: u64) {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .expect("its size");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    limit(Some(kib * 1024 + count * STACK + STACK / 2));
    let started: Vec<_> = (0..=count)
        .map(|_| std::thread::Builder::new().spawn(std::thread::park))
        .collect();
    assert_eq!(started.iter().filter(|thread| thread.is_ok()).count() as u64, count);
    for thread in started.into_iter().flatten() {
        thread.thread().unpark();
        thread.join().expect("it ends");
    }
}

fn allow_all_threads() {
    limit(getrlimit(Resource::As).maximum);
}

fn limit(current: Option<u64>) {
    let before = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current, ..before }).expect("below the hard limit");
}

/// A registry whose endpoint has a name, and an engine of that mode.
fn by_name(url: &str, mode: ExportMode) -> TracerRegistry {
    let url = url.replace("127.0.0.1", "localhost");
    let export = Export {
        mode: Some(mode),
        ..quick()
    };
    let registry = crate::support::registry(&url, &["a"], &Fingerprinter::new()).export(export);
    registry.build().expect("valid")
}

#[test]
fn a_registry_that_gets_too_few_threads_is_a_build_error_and_works_once_there_are_enough() {
    if !has_few_threads(
        "no_threads::a_registry_that_gets_too_few_threads_is_a_build_error_and_works_once_there_are_enough",
    ) {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    for threads in [0, 1] {
        allow_threads(threads);
        let error = crate::support::registry(&collector.url(), &["a"], &Fingerprinter::new()).build();
        let error = error.expect_err("too few threads");
        assert!(
            matches!(error, BuildError::Engine(EngineError::Threads(_))),
            "{error:?}"
        );
        let shown = error.to_string();
        assert!(
            shown.starts_with("cannot start the export threads: Resource temporarily unavailable"),
            "{shown}"
        );
    }
    // The third waits for changes of a file that a key is in, once there is one.
    allow_threads(2);
    let registry = crate::support::registry(&collector.url(), &["a"], &Fingerprinter::new()).build();
    let registry = registry.expect("enough");
    registry.tenant("a").expect("configured").start_span("span");
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
}

#[test]
fn spans_wait_while_there_is_no_thread_to_resolve_their_receivers_name() {
    if !has_few_threads("no_threads::spans_wait_while_there_is_no_thread_to_resolve_their_receivers_name") {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let registry = by_name(&collector.url(), ExportMode::Background);
    allow_threads(0);
    registry.tenant("a").expect("configured").start_span("span");
    let status = || registry.status().tracers[0].clone();
    let refused = wait_for("an error", status, |status| status.last_error.is_some());
    let error = refused.last_error.expect("seen").to_string();
    assert!(
        error.contains("cannot start a thread: Resource temporarily unavailable"),
        "{error}"
    );
    assert!(refused.spans.dropped.is_empty(), "{:?}", refused.spans);
    allow_all_threads();
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(collector.project("a").expect("named").spans().len(), 1);
}

#[test]
fn a_flush_in_inline_mode_keeps_what_it_has_no_thread_for() {
    if !has_few_threads("no_threads::a_flush_in_inline_mode_keeps_what_it_has_no_thread_for") {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let registry = by_name(&collector.url(), ExportMode::Inline);
    let a = registry.tenant("a").expect("configured");
    a.start_span("span");
    allow_threads(0);
    let report = a.force_flush(Duration::from_millis(200));
    assert!(!report.is_complete() && report.dropped.is_empty(), "{report:?}");
    allow_all_threads();
    assert!(a.force_flush(LONG).is_complete());
    assert_eq!(collector.project("a").expect("named").spans().len(), 1);
}

#[test]
fn a_key_is_asked_for_again_after_there_was_no_thread_to_read_it() {
    if !has_few_threads("no_threads::a_key_is_asked_for_again_after_there_was_no_thread_to_read_it") {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    collector.fault(Fault::status(401).only("refused"));
    let is_new = Arc::new(AtomicBool::new(false));
    let source = {
        let is_new = Arc::clone(&is_new);
        move |_: &str| -> Result<SecretString, SecretError> {
            let is_new = is_new.load(Ordering::SeqCst);
            Ok(if is_new { key_of("a") } else { "refused".to_owned() }.into())
        }
    };
    let binding = Binding::new().backend(BackendName::Otlp).endpoint(collector.url());
    let registry = TracerRegistry::builder()
        .secret_source("test", source)
        .tenant("a", binding.api_key(KeySource::provider("test", "a")))
        .export(Export {
            retry: Retry {
                max_elapsed: Some(LONG),
                ..quick().retry
            },
            ..quick()
        })
        .build()
        .expect("valid");
    allow_threads(0);
    registry.tenant("a").expect("configured").start_span("span");
    let key = || registry.status().tracers[0].key.clone().expect("it has one");
    let refused = wait_for("an error", key, |key| {
        let error = key.error.as_ref().map(ToString::to_string).unwrap_or_default();
        error.contains("cannot start a thread to read the key: Resource temporarily unavailable")
    });
    assert_eq!(refused.rotations, 0);
    is_new.store(true, Ordering::SeqCst);
    allow_all_threads();
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(key().rotations, 1);
}

/// The thread that looks at files is there, the one that tells it of events is not.
#[test]
#[cfg(feature = "watch")]
fn a_key_file_is_followed_also_where_no_events_of_it_can_be_had() {
    if !has_few_threads("no_threads::a_key_file_is_followed_also_where_no_events_of_it_can_be_had") {
        return;
    }
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the first");
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, "another").expect("writable");
    let binding = Binding::new().backend(BackendName::Otlp).endpoint(collector.url());
    let registry = TracerRegistry::builder()
        .tenant("a", binding.api_key(KeySource::file(&file)))
        .export(quick())
        .build()
        .expect("valid");
    allow_threads(1);
    let a = registry.tenant("a").expect("a key");
    let told = |lines: &Vec<String>| lines.iter().any(|line| line.contains("cannot start the event thread"));
    wait_for("a line of the log", || log.lines(), told);
    allow_all_threads();
    fs::write(&file, key_of("a")).expect("writable");
    let rotations = || registry.status().tracers[0].key.clone().expect("it has one").rotations;
    wait_for("the other key", rotations, |rotations| *rotations == 1);
    drop(a);
    assert!(registry.shutdown(LONG).is_complete());
}

#[test]
fn a_look_up_that_waits_makes_its_tracer_where_it_is_polled_if_the_runtime_has_no_thread() {
    if !has_few_threads(
        "no_threads::a_look_up_that_waits_makes_its_tracer_where_it_is_polled_if_the_runtime_has_no_thread",
    ) {
        return;
    }
    let world = World::new(&["a"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    allow_threads(0);
    let a = runtime.block_on(world.registry.tenant_async("a")).expect("configured");
    allow_all_threads();
    a.start_span("span");
    world.flush();
}
