//! A system that cannot start threads. Each test is a process whose threads have large stacks and
//! whose address space allows few of them. That limit holds for every user; the process limit does
//! not hold for root.

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

fn is_child_with_large_stacks(test: &str) -> bool {
    is_child(test, &[("RUST_MIN_STACK", STACK.to_string())])
}

/// Leaves address space for exactly `count` more threads, and half a stack for other allocations.
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
        thread.join().expect("the thread ends");
    }
}

fn allow_all_threads() {
    limit(getrlimit(Resource::As).maximum);
}

fn limit(current: Option<u64>) {
    let before = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current, ..before }).expect("below the hard limit");
}

/// Creates a registry in the given mode whose endpoint has a host name, which needs a thread to
/// resolve.
fn with_host_name(url: &str, mode: ExportMode) -> TracerRegistry {
    let url = url.replace("127.0.0.1", "localhost");
    let export = Export {
        mode: Some(mode),
        ..quick()
    };
    let registry = crate::support::registry(&url, &["a"], &Fingerprinter::new()).export(export);
    registry.build().expect("valid")
}

#[test]
fn too_few_threads_is_a_build_error_and_a_later_build_works() {
    if !is_child_with_large_stacks("thread_exhaustion::too_few_threads_is_a_build_error_and_a_later_build_works") {
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
        let message = error.to_string();
        assert!(
            message.starts_with("cannot start the export threads: Resource temporarily unavailable"),
            "{message}"
        );
    }
    // The third thread watches key files and starts with the first one.
    allow_threads(2);
    let registry = crate::support::registry(&collector.url(), &["a"], &Fingerprinter::new()).build();
    let registry = registry.expect("enough");
    registry.tenant("a").expect("configured").start_span("span");
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
}

#[test]
fn spans_wait_while_no_thread_can_resolve_the_receivers_name() {
    if !is_child_with_large_stacks("thread_exhaustion::spans_wait_while_no_thread_can_resolve_the_receivers_name") {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let registry = with_host_name(&collector.url(), ExportMode::Background);
    allow_threads(0);
    registry.tenant("a").expect("configured").start_span("span");
    let status = || registry.status().tracers[0].clone();
    let refused = wait_for("an error", status, |status| status.last_error.is_some());
    let error = refused.last_error.expect("just seen").to_string();
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
fn a_flush_in_inline_mode_keeps_spans_if_it_cannot_start_a_thread() {
    if !is_child_with_large_stacks("thread_exhaustion::a_flush_in_inline_mode_keeps_spans_if_it_cannot_start_a_thread")
    {
        return;
    }
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    let registry = with_host_name(&collector.url(), ExportMode::Inline);
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
fn a_key_is_read_again_after_no_thread_could_read_it() {
    if !is_child_with_large_stacks("thread_exhaustion::a_key_is_read_again_after_no_thread_could_read_it") {
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
    let key = || registry.status().tracers[0].key.clone().expect("the tracer has a key");
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

/// The thread that reads files can start, the one that receives file events cannot.
#[test]
#[cfg(feature = "watch")]
fn a_key_file_is_followed_even_without_file_events() {
    if !is_child_with_large_stacks("thread_exhaustion::a_key_file_is_followed_even_without_file_events") {
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
    let is_logged = |lines: &Vec<String>| lines.iter().any(|line| line.contains("cannot start the event thread"));
    wait_for("a line of the log", || log.lines(), is_logged);
    allow_all_threads();
    fs::write(&file, key_of("a")).expect("writable");
    let rotations = || {
        registry.status().tracers[0]
            .key
            .clone()
            .expect("the tracer has a key")
            .rotations
    };
    wait_for("the other key", rotations, |rotations| *rotations == 1);
    drop(a);
    assert!(registry.shutdown(LONG).is_complete());
}

#[test]
fn an_async_look_up_creates_its_tracer_on_the_polling_thread_if_the_runtime_has_none() {
    if !is_child_with_large_stacks(
        "thread_exhaustion::an_async_look_up_creates_its_tracer_on_the_polling_thread_if_the_runtime_has_none",
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
