//! Forked processes: an inherited registry neither hangs nor sends data twice, and a new registry
//! in the child works.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fork::{Fork, WEXITSTATUS, WIFEXITED, fork, waitpid};
use futures_util::FutureExt as _;
use opentelemetry::trace::{Span as _, TraceId};
use tracer_registry::check::CheckMode;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool, WhenFull};
use tracer_registry::error::ReloadError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::Slug;
use tracer_registry::source::BindingCacheOptions;
use tracer_registry::status::{Status, TracerQuery};
use tracer_registry::{Enrichment, LookupError, Selector, Session, TracerHandle, TracerRegistry};
use tracer_registry_collector::LocalCollector;

use crate::child_process::{is_child, variable};
use crate::support::{LONG, collector, quick, registry};

const URL: &str = "COLLECTOR_URL";
const FORKS: u64 = 50;
const SPANS_PER_CHILD: u64 = 3;

/// State of the parent at a fork.
struct Inherited {
    /// The only handle, so that the child drops the registry.
    registry: TracerRegistry,
    /// Threads look up, create and flush its tracers all the time.
    busy: TracerRegistry,
    a: TracerHandle,
    session: Session,
}

/// Creates a registry with every kind of thread (file watcher, binding cache) and a pool that is
/// always full.
fn parent_registry(url: &str, mode: ExportMode, folder: &Path) -> TracerRegistry {
    let export = crate::explain::explaining(Export {
        mode: Some(mode),
        ..quick()
    });
    let builder = registry(url, &["a", "b", "*"], &Fingerprinter::new())
        .export(export)
        .pool(Pool {
            max_tracers: Some(12),
            idle_timeout: Some(IdleTimeout::After(Duration::from_millis(5))),
            when_full: Some(WhenFull::Grow),
        })
        .binding_source(|_: &Slug| Ok(None))
        .binding_cache(BindingCacheOptions {
            negative_ttl: Duration::from_millis(5),
            ..BindingCacheOptions::default()
        })
        .tenants_dir(folder)
        .watch(true);
    builder.build().expect("valid")
}

fn run_forks(test: &str, mode: ExportMode) {
    let collector = collector(&["a", "child", "*"], &Fingerprinter::new()).start();
    let collector = collector.expect("a free port");
    if is_child(test, &[(URL, collector.url())]) {
        drop(collector);
        return parent(&variable(URL), mode);
    }
    assert_results(&collector);
}

#[test]
fn a_forked_child_sends_nothing_inherited_and_can_use_a_new_registry() {
    run_forks(
        "forks::a_forked_child_sends_nothing_inherited_and_can_use_a_new_registry",
        ExportMode::Background,
    );
}

#[test]
fn a_forked_child_of_an_inline_parent_sends_nothing_inherited() {
    run_forks(
        "forks::a_forked_child_of_an_inline_parent_sends_nothing_inherited",
        ExportMode::Inline,
    );
}

/// Asserts that the parent's spans and each child's own spans arrived exactly once.
fn assert_results(collector: &LocalCollector) {
    let (parent, children) = (collector.project("a"), collector.project("child"));
    let (parent, children) = (parent.expect("named"), children.expect("named"));
    let (parent_registry, of_children) = (parent.spans(), children.spans());
    let names: HashSet<&str> = parent_registry.iter().map(|span| span.name.as_str()).collect();
    let span_count = names.iter().find_map(|name| name.strip_prefix("made "));
    let span_count: u64 = span_count
        .expect("the last span of the parent")
        .parse()
        .expect("a number");
    assert_eq!(
        parent_registry.len() as u64,
        span_count + 1,
        "no span of the parent is duplicated"
    );
    assert!(
        (0..span_count).all(|n| names.contains(n.to_string().as_str())),
        "a span of the parent is missing"
    );
    assert_eq!(of_children.len() as u64, FORKS * SPANS_PER_CHILD);
    let names: HashSet<&str> = of_children.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names.len(), of_children.len());
    // A forked child inherits the state of the parent's random number generator.
    let traces: HashSet<_> = parent_registry
        .iter()
        .chain(of_children.iter())
        .map(|span| span.trace_id.clone())
        .collect();
    assert_eq!(
        traces.len(),
        parent_registry.len() + of_children.len(),
        "trace ids are unique across processes"
    );
}

fn parent(url: &str, mode: ExportMode) {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = parent_registry(url, mode, folder.path());
    let a = registry.tenant("a").expect("configured");
    let busy = parent_registry(url, mode, folder.path());
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let until_stopped = |work: &dyn Fn(u64)| {
        for n in (0..).take_while(|_| !stop.load(Ordering::SeqCst)) {
            work(n);
            // Leave CPU time to the children.
            thread::park_timeout(Duration::from_millis(1));
        }
    };
    thread::scope(|threads| {
        let sending = [(); 2].map(|()| {
            threads.spawn(|| {
                until_stopped(&|_| {
                    for _ in 0..20 {
                        a.start_span(count.fetch_add(1, Ordering::SeqCst).to_string()).end();
                    }
                    assert!(a.force_flush(LONG).is_complete());
                });
            })
        });
        threads.spawn(|| {
            until_stopped(&|n| {
                let tracer = busy.tenant(&format!("tenant-{}", n % 20)).expect("configured");
                tracer.session("s").start().enrich(Enrichment::new().metadata("n", n));
                tracer.in_span("span", |_| ());
                drop(busy.dedicated(tracer.selector()));
                drop(busy.force_flush(Duration::from_millis(n % 3)));
                if n % 16 == 0 {
                    drop(busy.reload().expect("a valid configuration"));
                }
            });
        });
        let _stop = StopAtEnd(&stop);
        let mut inherited = Inherited {
            session: a.session("s").start(),
            registry,
            busy: busy.clone(),
            a: a.clone(),
        };
        for n in 0..FORKS {
            // Queued at the fork, so that the child has a copy.
            a.start_span(count.fetch_add(1, Ordering::SeqCst).to_string()).end();
            inherited.session.enrich(Enrichment::new().metadata("n", n));
            inherited = match fork().expect("a new process") {
                Fork::Child => run_child(n, url, inherited),
                Fork::Parent(child) => {
                    let status = waitpid(child).expect("a child");
                    assert!(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child {n}: {status}");
                    inherited
                }
            };
        }
        stop.store(true, Ordering::SeqCst);
        // The threads create their last spans before the shutdown.
        for thread in sending {
            thread.join().expect("no panic");
        }
        let Inherited { registry, session, .. } = inherited;
        session.end();
        a.start_span(format!("made {}", count.load(Ordering::SeqCst))).end();
        let report = registry.shutdown(LONG);
        assert!(report.is_complete(), "{report}");
    });
    drop(busy.shutdown(LONG));
}

/// Stops the threads, also if an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a child and exits. Exits with an error if the child panics or hangs.
fn run_child(n: u64, url: &str, inherited: Inherited) -> ! {
    let (alive, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        // The child hangs.
        if ended.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            process::exit(9);
        }
    });
    let result = catch_unwind(AssertUnwindSafe(|| use_inherited(n, url, inherited)));
    drop(alive);
    process::exit(i32::from(result.is_err()));
}

fn use_inherited(n: u64, url: &str, inherited: Inherited) {
    let Inherited {
        registry,
        busy,
        a,
        session,
    } = inherited;
    let _inside = n.is_multiple_of(2).then(|| session.enter());
    for _ in 0..2000 {
        a.start_span("inherited").end();
    }
    a.in_span("inherited", |span| span.metadata("cut", "x".repeat(100_000)));
    session.enrich(Enrichment::new().metadata("inherited", true));
    session.make_default();
    a.session("inherited").start().end();
    for registry in [&registry, &busy] {
        // An existing tracer is found unless its slot was locked at the fork.
        let found = registry.tenant("a").map(|a| a.start_span("inherited").end());
        assert!(matches!(found, Ok(()) | Err(LookupError::Forked)));
        let refused = [
            registry.tenant("b").map(drop),
            registry.tenant(&format!("new-{n}")).map(drop),
            registry.dedicated(Selector::tenant("a")).map(drop),
        ];
        assert!(
            refused.iter().all(|refused| *refused == Err(LookupError::Forked)),
            "{refused:?}"
        );
        assert!(
            registry
                .check(CheckMode::Connect)
                .iter()
                .all(|binding| binding.error.is_some() || binding.selector == "tenant:*")
        );
        let selector = Selector::tenant(&format!("async-{n}"));
        assert_eq!(now(registry.get_async(selector)).map(drop), Err(LookupError::Forked));
        assert_eq!(registry.reload(), Err(ReloadError::Forked));
        assert_eq!(registry.remove(Selector::tenant("a")), Ok(false));
        assert_eq!(registry.explain(TraceId::from(1)), None);
        assert_eq!(registry.pause(Selector::tenant("a")), Err(LookupError::Forked));
        assert_eq!(registry.resume(Selector::tenant("a")), Ok(false));
        assert_eq!(registry.flush(Selector::tenant("a"), LONG), Ok(None));
        assert_eq!(registry.rotate(Selector::tenant("a")), Err(LookupError::Forked));
        let checked = registry.check_selector(Selector::tenant("a"), CheckMode::Connect);
        assert!(checked.is_ok_and(|checked| checked.error.is_some()));
        assert_eq!(registry.refused(Selector::tenant("a")), Ok(Vec::new()));
        assert_eq!(
            registry.config().selectors().len(),
            2,
            "the configuration needs no lock"
        );
        #[cfg(feature = "metrics")]
        assert!(crate::metrics::reader::Reader::of(registry).read().values.is_empty());
        assert_eq!(registry.tracers(&TracerQuery::default()).found, 0);
        assert!(registry.attention().is_empty() && registry.endpoints().is_empty());
        assert!(registry.status_without_tracers() == Status::default());
        assert_eq!(registry.tracer_status(Selector::tenant("a")), Ok(None));
        assert_eq!(registry.changes(0), (Vec::new(), 0));
        assert!(registry.status().tracers.is_empty() && format!("{registry:?}").contains("TracerRegistry"));
        let flushed = registry.force_flush(LONG);
        assert!(
            flushed.forked && !flushed.is_complete() && flushed.to_string().contains("forked"),
            "{flushed}"
        );
    }
    let flushed = a.force_flush(LONG);
    assert!(
        flushed.forked && flushed.to_string().starts_with("tenant:a: nothing was sent"),
        "{flushed}"
    );
    if n.is_multiple_of(3) {
        assert!(registry.shutdown(LONG).forked);
    }
    use_new_registry(n, url);
    drop((registry, busy));
    a.start_span("inherited").end();
    drop((a, session));
}

/// Returns the output of a future that is ready at the first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a ready future")
}

/// Creates a registry in the child and exports spans with it.
fn use_new_registry(n: u64, url: &str) {
    let export = Export {
        mode: Some(if n.is_multiple_of(5) {
            ExportMode::Inline
        } else {
            ExportMode::Background
        }),
        ..quick()
    };
    let registry = registry(url, &["child"], &Fingerprinter::new()).export(export);
    let registry = registry.build().expect("valid");
    let child = registry.tenant("child").expect("configured");
    for span in 0..SPANS_PER_CHILD {
        child.start_span(format!("{n}-{span}")).end();
    }
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
}
