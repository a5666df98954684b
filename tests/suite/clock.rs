//! Changes of the wall clock while spans are open. A preloaded library sets the clock back by an
//! hour while a file exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::task::{Context as Task, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer, TracerProvider};
use tempfile::TempDir;
use tracer_registry::Enrichment;
use tracer_registry::config::BackendName;
use tracer_registry_collector::Span;

use crate::child_process::{is_child, is_in_child, variable};
use crate::support::{World, binding};

const HOUR: Duration = Duration::from_secs(3600);

/// Environment variable with the path of the file. While the file exists, the clock is an hour
/// behind.
const FILE: &str = "CLOCK_IS_AN_HOUR_BEHIND";

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *file = getenv("CLOCK_IS_AN_HOUR_BEHIND");
    if (clock == CLOCK_REALTIME && file && access(file, F_OK) == 0) now->tv_sec -= 3600;
    return result;
}
"#;

/// Builds the library with the system's C compiler.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("libclock.so"));
    fs::write(&source, LIBRARY).expect("writable");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(status.expect("a C compiler").success());
    library
}

/// Runs the rest of a test in a child process with an adjustable clock. Returns true in the child.
fn is_child_with_adjustable_clock(test: &str) -> bool {
    if is_in_child() {
        return is_child::<&str>(test, &[("LD_PRELOAD", ""), (FILE, "")]);
    }
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("behind");
    is_child(test, &[("LD_PRELOAD", library(folder.path())), (FILE, file)])
}

/// Sets the clock back by an hour.
fn set_back() {
    let before = SystemTime::now();
    fs::write(variable(FILE), "").expect("writable");
    assert!(SystemTime::now() < before, "the clock did not change");
}

/// Sets the clock forward by an hour, to the real time.
fn set_forward() {
    let before = SystemTime::now();
    fs::remove_file(variable(FILE)).expect("set_back was called");
    assert!(SystemTime::now() > before + HOUR / 2, "the clock did not change");
}

/// Asserts that each span lasts less than half an hour and contains its events.
fn assert_in_order(spans: &[std::sync::Arc<Span>], names: &[&str]) {
    let mut found: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let mut names = names.to_vec();
    found.sort_unstable();
    names.sort_unstable();
    assert_eq!(found, names);
    for span in spans {
        let (start, end) = (span.start_unix_nanos, span.end_unix_nanos);
        let lasted = end.checked_sub(start).map(Duration::from_nanos);
        assert!(
            lasted.is_some_and(|lasted| lasted < HOUR / 2),
            "{} from {start} to {end}",
            span.name
        );
        for event in &span.events {
            let at = event.time_unix_nanos;
            assert!(
                (start..=end).contains(&at),
                "{} at {at} in {} from {start} to {end}",
                event.name,
                span.name
            );
        }
    }
}

#[test]
fn a_clock_change_never_moves_the_end_of_a_span_before_its_start() {
    if !is_child_with_adjustable_clock("clock::a_clock_change_never_moves_the_end_of_a_span_before_its_start") {
        return;
    }
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    for set in [set_back, set_forward] {
        let (mut ended, dropped) = (a.start_span("ended"), a.start_span("dropped"));
        let cx = Context::new().with_span(a.start_span("in a context"));
        let left_open = Context::new().with_span(a.start_span("left in a context"));
        let mut cut_off = Box::pin(a.in_span_async("cut off", async |_| std::future::pending::<()>().await));
        assert!(cut_off.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
        a.in_span("closure", |span| {
            a.tracer("t").in_span("by the trait", |_| set());
            span.add_event("event", Vec::new());
            span.record_error(&std::fmt::Error);
        });
        ended.add_event("event", Vec::new());
        ended.end();
        drop(dropped);
        drop(cut_off);
        cx.span().add_event("event", Vec::new());
        cx.span().end();
        drop(left_open);
    }
    world.flush();
    let each = [
        "ended",
        "dropped",
        "in a context",
        "left in a context",
        "cut off",
        "closure",
        "by the trait",
    ];
    let project = world.project("a");
    assert_in_order(project.spans(), &[each, each].concat());
    assert_eq!(project.spans().iter().map(|span| span.events.len()).sum::<usize>(), 8);
}

#[test]
fn explicit_timestamps_are_kept_after_a_clock_change() {
    if !is_child_with_adjustable_clock("clock::explicit_timestamps_are_kept_after_a_clock_change") {
        return;
    }
    let world = World::new(&["a"]);
    let tracer = world.tenant("a").tracer("t");
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let mut span = tracer.build(tracer.span_builder("replayed").with_start_time(at(1000)));
    set_back();
    span.add_event_with_timestamp("event", at(1001), Vec::new());
    span.end_with_timestamp(at(1002));
    world.flush();
    let span = world.span("a", "replayed");
    let seconds = |nanos: u64| nanos / 1_000_000_000;
    assert_eq!(
        (seconds(span.start_unix_nanos), seconds(span.end_unix_nanos)),
        (1000, 1002)
    );
    assert_eq!(seconds(span.events[0].time_unix_nanos), 1001);
}

#[test]
fn a_clock_change_does_not_affect_session_durations() {
    if !is_child_with_adjustable_clock("clock::a_clock_change_does_not_affect_session_durations") {
        return;
    }
    let world = World::new(&["a"]);
    let url = world.collector.url();
    // No session API: the ends of sessions are sent as spans.
    let otlp = World::with(&[], |builder| {
        builder.tenant("a", binding("a").backend(BackendName::Otlp).endpoint(url))
    });
    for set in [set_back, set_forward] {
        let (by_spans, by_calls) = (
            otlp.tenant("a").session("s").start(),
            world.tenant("a").session("s").start(),
        );
        set();
        by_spans.enrich(Enrichment::new().outputs("done"));
        by_spans.end();
        by_calls.end();
        world.flush();
        let project = world.project("a");
        let session = project.session(by_calls.id()).expect("started");
        let millis = session.duration_millis.expect("reported");
        assert!((0.0..1.8e6).contains(&millis), "{millis}");
    }
    otlp.flush();
    let project = world.project("a");
    let each = ["session.enrich", "session.end"];
    assert_in_order(project.spans(), &[each, each].concat());
}

#[test]
#[cfg(all(feature = "macros", feature = "tracing"))]
fn a_clock_change_does_not_affect_traced_functions_and_tracing_spans() {
    use tracer_registry::trace;
    use tracing_subscriber::layer::SubscriberExt;

    #[trace]
    fn function(set: fn()) {
        set();
        tracing::info!("event");
    }

    #[trace]
    async fn future(set: fn()) {
        tokio::task::yield_now().await;
        set();
    }

    if !is_child_with_adjustable_clock("clock::a_clock_change_does_not_affect_traced_functions_and_tracing_spans") {
        return;
    }
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let _in_a = a.enter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    tracing::info_span!("of the tracing crate").in_scope(|| {
        function(set_back);
        tracing::info!("event");
    });
    let spawned = a.scope(future(set_forward));
    runtime.block_on(async { std::pin::pin!(spawned).await });
    world.flush();
    let project = world.project("a");
    assert_in_order(project.spans(), &["of the tracing crate", "function", "future"]);
    assert_eq!(project.spans().iter().map(|span| span.events.len()).sum::<usize>(), 2);
}

/// The span starts when the request arrives, before its tracer exists.
#[test]
#[cfg(feature = "tower")]
fn a_clock_change_does_not_affect_request_spans() {
    use http::{HeaderName, Request, Response};
    use http_body_util::Full;
    use tower::ServiceExt;
    use tower_layer::Layer;
    use tracer_registry::selector::Slug;
    use tracer_registry::source::{AsyncBindingSource, BindingFuture};
    use tracer_registry::tower::{TenantLayer, TenantSource};

    /// Sets the clock when it is called.
    struct Source(fn());

    impl AsyncBindingSource for Source {
        fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a> {
            Box::pin(async move {
                (self.0)();
                Ok(Some(binding(tenant)))
            })
        }
    }

    if !is_child_with_adjustable_clock("clock::a_clock_change_does_not_affect_request_spans") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for set in [set_back, set_forward] {
        let world = World::new(&["a"]);
        let collector = world.collector.url();
        let served = World::with(&[], |builder| {
            let builder = builder.defaults(binding("a").endpoint(collector));
            builder.async_binding_source(Source(set))
        });
        let source = TenantSource::header(HeaderName::from_static("x-tenant"));
        let service = TenantLayer::new(served.registry.clone(), source).layer(tower::service_fn(
            async |_: Request<Full<bytes::Bytes>>| {
                Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
            },
        ));
        let request = Request::builder().uri("/").header("x-tenant", "a");
        let request = request.body(Full::default()).expect("a request");
        let response = runtime.block_on(service.oneshot(request)).expect("infallible");
        drop(response);
        served.flush();
        assert_in_order(world.project("a").spans(), &["GET"]);
    }
}
