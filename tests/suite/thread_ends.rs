//! Thread-local destructors. They may run after OpenTelemetry's current context is gone, which
//! panics on access; a panic there ends the process. Each case is a separate process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context as Task, Waker};
use std::thread;

use futures_util::{FutureExt, StreamExt};
use opentelemetry::Context;
use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use tracer_registry::{Enrichment, Scope, Session, TracerHandle, TracerRegistry};

use crate::child_process::{is_child, variable};
use crate::support::{LONG, World};

/// The work of a destructor, created on the thread before it ends.
type Work = Box<dyn FnOnce()>;

struct RunOnDrop(Option<Work>);

impl Drop for RunOnDrop {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

thread_local! {
    static RUN_ON_DROP: RefCell<RunOnDrop> = const { RefCell::new(RunOnDrop(None)) };
}

/// Polls a future once and asserts that it is pending.
fn polled_once<F: Future + 'static>(future: F) -> Box<dyn std::any::Any> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    Box::new(future)
}

/// One way into this crate: the work, whether it creates a span named `last`, and whether a failure
/// to attach its scope is counted.
struct Case {
    name: &'static str,
    work: fn(&World, TracerHandle) -> Work,
    creates_span: bool,
    is_counted: bool,
}

const fn case(
    name: &'static str,
    work: fn(&World, TracerHandle) -> Work,
    creates_span: bool,
    is_counted: bool,
) -> Case {
    Case {
        name,
        work,
        creates_span,
        is_counted,
    }
}

const CASES: &[Case] = &[
    case(
        "in_span",
        |_, a| Box::new(move || a.in_span("last", |span| span.set_attribute("k", 1))),
        true,
        true,
    ),
    case(
        "in_span_async",
        |_, a| Box::new(move || a.in_span_async("last", async |_| ()).now_or_never().expect("done")),
        true,
        true,
    ),
    case(
        "start_span",
        |_, a| Box::new(move || drop(a.start_span("last"))),
        true,
        true,
    ),
    case(
        "start by the trait",
        |_, a| Box::new(move || a.tracer("t").start("last").end()),
        true,
        true,
    ),
    case(
        "in_span_async by the trait",
        |_, a| Box::new(move || a.tracer("t").in_span("last", |_| ())),
        true,
        true,
    ),
    case("enter", |_, a| Box::new(move || drop(a.enter())), false, true),
    case(
        "scope",
        |_, a| Box::new(move || a.scope(async {}).now_or_never().expect("done")),
        false,
        true,
    ),
    case(
        "Scope::current",
        |_, _| Box::new(|| assert!(Scope::current().session().is_none())),
        false,
        false,
    ),
    case(
        "Scope::run",
        |_, _| Box::new(|| Scope::current().run(|| ())),
        false,
        false,
    ),
    case(
        "Session::current",
        |_, _| Box::new(|| assert!(Session::current().is_none())),
        false,
        false,
    ),
    case(
        "Session::enter",
        |_, a| {
            let session = a.session("s").start();
            Box::new(move || drop(session.enter()))
        },
        false,
        true,
    ),
    case(
        "enrich",
        |_, a| {
            let session = a.session("s").start();
            Box::new(move || session.enrich(Enrichment::new().metadata("k", 1)))
        },
        false,
        false,
    ),
    case(
        "TracerRegistry::current",
        |_, _| Box::new(|| assert!(TracerRegistry::current().is_none())),
        false,
        false,
    ),
    case(
        "current_span",
        |_, a| Box::new(move || assert!(a.current_span().is_none())),
        false,
        false,
    ),
    case(
        "inject",
        |_, a| {
            Box::new(move || {
                let mut headers: HashMap<String, String> = HashMap::new();
                a.inject(&mut headers);
                assert!(headers.is_empty());
            })
        },
        false,
        false,
    ),
    case(
        "extract",
        |_, a| Box::new(move || drop(a.extract(&HashMap::<String, String>::new()))),
        false,
        false,
    ),
    case(
        "look-up",
        |world, _| {
            let registry = world.registry.clone();
            registry.tenant("early").expect("configured");
            Box::new(move || assert!(registry.tenant("late").is_ok()))
        },
        false,
        false,
    ),
    case(
        "flush",
        |world, a| {
            let registry = world.registry.clone();
            Box::new(move || {
                assert!(a.force_flush(LONG).is_complete());
                assert!(registry.force_flush(LONG).is_complete());
            })
        },
        false,
        false,
    ),
    case(
        "routing provider",
        |world, _| {
            let driver = world.registry.routing_provider().tracer("driver");
            Box::new(move || {
                driver.start("unscoped").end();
                driver.in_span("unscoped", |_| ());
            })
        },
        false,
        false,
    ),
    case(
        "span that is dropped",
        |_, a| {
            let span = a.start_span("last");
            Box::new(move || drop(span))
        },
        true,
        false,
    ),
    case(
        "guard that is dropped",
        |_, a| {
            let guard = a.enter();
            Box::new(move || drop(guard))
        },
        false,
        false,
    ),
    case(
        "future of scope that is dropped",
        |_, a| {
            let inner = a.clone();
            let future = polled_once(a.scope(async move {
                let _ends = inner.start_span("within");
                std::future::pending::<()>().await;
            }));
            Box::new(move || drop(future))
        },
        false,
        true,
    ),
    case(
        "future of in_span_async that is dropped",
        |_, a| {
            let future = polled_once(a.in_span_async("last", async |_| std::future::pending::<()>().await));
            Box::new(move || drop(future))
        },
        true,
        true,
    ),
    case(
        "stream that is dropped",
        |_, a| {
            let stream = a.in_span("of the stream", |_| {
                Scope::current().stream(futures_util::stream::pending::<()>())
            });
            let mut stream = Box::pin(stream);
            assert!(stream.next().now_or_never().is_none());
            Box::new(move || drop(stream))
        },
        false,
        true,
    ),
];

#[cfg(feature = "macros")]
mod traced {
    use super::{Case, FutureExt, TracerHandle, Work, World, case, polled_once};
    use tracer_registry::trace;

    #[trace]
    fn unnamed() {}

    #[trace(tracer = tracer)]
    fn last(tracer: &TracerHandle) {}

    #[trace(tracer = tracer, name = "last")]
    async fn pending(tracer: TracerHandle) {
        std::future::pending::<()>().await;
    }

    #[trace(tracer = tracer, name = "last")]
    async fn ready(tracer: TracerHandle) {}

    pub(super) const CASES: &[Case] = &[
        case("#[trace]", |_, _| Box::new(unnamed), false, false),
        case("#[trace] with a tracer", |_, a| Box::new(move || last(&a)), true, true),
        case(
            "#[trace] async",
            |_, a| Box::new(move || ready(a).now_or_never().expect("done")) as Work,
            true,
            true,
        ),
        case(
            "#[trace] future that is dropped",
            |_: &World, a| {
                let future = polled_once(pending(a));
                Box::new(move || drop(future))
            },
            true,
            true,
        ),
    ];
}

#[cfg(feature = "tracing")]
mod tracing_spans {
    use super::{Case, case};

    pub(super) const CASES: &[Case] = &[
        case(
            "event of tracing",
            |_, _| Box::new(|| tracing::info!("bye")),
            false,
            false,
        ),
        case(
            "span of tracing",
            |_, _| Box::new(|| drop(tracing::info_span!("unscoped").entered())),
            false,
            false,
        ),
        case(
            "span of tracing that was made before",
            |_, a| {
                let span = a.in_span("request", |_| tracing::info_span!("last"));
                Box::new(move || span.in_scope(|| tracing::info!("bye")))
            },
            true,
            false,
        ),
        case(
            "span of tracing that was entered before",
            |_, a| {
                let entered = a.in_span("request", |_| tracing::info_span!("last").entered());
                Box::new(move || drop(entered))
            },
            true,
            false,
        ),
    ];
}

fn cases() -> Vec<&'static Case> {
    #[cfg_attr(
        not(any(feature = "macros", feature = "tracing")),
        expect(unused_mut, reason = "cases of features are added")
    )]
    let mut cases: Vec<&Case> = CASES.iter().collect();
    #[cfg(feature = "macros")]
    cases.extend(traced::CASES);
    #[cfg(feature = "tracing")]
    cases.extend(tracing_spans::CASES);
    cases
}

/// Runs work on a thread and waits until the thread has dropped its thread-local variables.
fn run_thread_to_end(work: impl FnOnce() + Send) {
    // Join explicitly: a scope waits only for the work, not for the destructors.
    thread::scope(|threads| threads.spawn(work).join()).expect("no panic");
}

/// Runs the work of a case in the destructor of a thread-local variable. The variable that is
/// initialized first is dropped last.
fn run(case: &Case, is_initialized_first: bool) {
    let world = World::new(&["a", "early", "late"]);
    #[cfg(feature = "tracing")]
    {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
        tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
    }
    let a = world.tenant("a");
    run_thread_to_end(|| {
        if is_initialized_first {
            RUN_ON_DROP.with_borrow(|_| ());
        }
        a.in_span("work", |_| ());
        let work = (case.work)(&world, a.clone());
        RUN_ON_DROP.with_borrow_mut(|run_on_drop| run_on_drop.0 = Some(work));
    });
    world.flush();
    let names = world.names("a");
    assert!(names.iter().any(|name| name == "work"), "{names:?}");
    // A span started before the destructor ends in it.
    let is_started_before = case.name.contains("that ");
    let has_span = case.creates_span && (!is_initialized_first || is_started_before);
    assert_eq!(
        names.iter().filter(|name| *name == "last").count(),
        usize::from(has_span),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name == "unscoped"), "{names:?}");
    // A future enters its scope at each poll and when it is dropped.
    let unattached = world.registry.status().unrouted.unattached;
    assert_eq!(
        unattached > 0,
        case.is_counted && is_initialized_first,
        "{}: {unattached}",
        case.name
    );
}

#[test]
fn a_thread_local_destructor_runs_without_a_span_after_the_context_is_gone() {
    const TEST: &str = "thread_ends::a_thread_local_destructor_runs_without_a_span_after_the_context_is_gone";
    for case in cases() {
        for order in ["initialized first", "initialized last"] {
            if is_child(TEST, &[("CASE", case.name), ("ORDER", order)]) {
                let name = variable("CASE");
                let case = cases().into_iter().find(|case| case.name == name).expect("a case");
                return run(case, variable("ORDER") == "initialized first");
            }
        }
    }
}

/// Nothing of this crate has run on the thread before.
#[test]
fn a_thread_that_first_calls_this_crate_in_a_destructor_does_not_panic() {
    if !is_child::<&str>(
        "thread_ends::a_thread_that_first_calls_this_crate_in_a_destructor_does_not_panic",
        &[],
    ) {
        return;
    }
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    run_thread_to_end(|| {
        RUN_ON_DROP.with_borrow(|_| ());
        #[expect(clippy::disallowed_methods, reason = "third-party code does this")]
        drop(Context::current());
        let a = a.clone();
        let work = move || {
            a.in_span("last", |_| assert!(TracerRegistry::current().is_none()));
        };
        RUN_ON_DROP.with_borrow_mut(|run_on_drop| run_on_drop.0 = Some(Box::new(work)));
    });
    world.flush();
    assert_eq!(world.names("a"), [""; 0]);
    assert_eq!(world.registry.status().unrouted.unattached, 1);
}

/// The tests above rely on this order: a thread drops its variables in reverse order of
/// initialization.
#[test]
fn a_thread_drops_its_variables_in_reverse_order() {
    use std::sync::mpsc;

    struct SendOnDrop(mpsc::Sender<&'static str>, &'static str);

    impl Drop for SendOnDrop {
        fn drop(&mut self) {
            self.0.send(self.1).expect("the test receives");
        }
    }

    thread_local! {
        static FIRST: RefCell<Option<SendOnDrop>> = const { RefCell::new(None) };
        static SECOND: RefCell<Option<SendOnDrop>> = const { RefCell::new(None) };
    }

    let (sender, dropped) = mpsc::channel();
    thread::spawn(move || {
        FIRST.set(Some(SendOnDrop(sender.clone(), "first")));
        SECOND.set(Some(SendOnDrop(sender, "second")));
    })
    .join()
    .expect("no panic");
    assert_eq!(dropped.iter().collect::<Vec<_>>(), ["second", "first"]);
}
