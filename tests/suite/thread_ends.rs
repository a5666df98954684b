//! Destructors of a thread's own variables: they run when OpenTelemetry's current context may be gone, which panics if it is asked for, and a
//! panic there ends the process. Each case is a process of its own.

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

/// What a destructor does, made on the thread before it ends.
type Deed = Box<dyn FnOnce()>;

struct Kept(Option<Deed>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(deed) = self.0.take() {
            deed();
        }
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept(None)) };
}

/// Polls a future once, which is not done then.
fn begun<F: Future + 'static>(future: F) -> Box<dyn std::any::Any> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    Box::new(future)
}

/// A deed for each way into this crate: whether it makes a span `last`, and whether it needs a scope made current.
struct Case {
    name: &'static str,
    deed: fn(&World, TracerHandle) -> Deed,
    makes_span: bool,
    is_counted: bool,
}

const fn case(name: &'static str, deed: fn(&World, TracerHandle) -> Deed, makes_span: bool, is_counted: bool) -> Case {
    Case {
        name,
        deed,
        makes_span,
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
                driver.start("nobody's").end();
                driver.in_span("nobody's", |_| ());
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
            let future = begun(a.scope(async move {
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
            let future = begun(a.in_span_async("last", async |_| std::future::pending::<()>().await));
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
    use super::{Case, Deed, FutureExt, TracerHandle, World, begun, case};
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
            |_, a| Box::new(move || ready(a).now_or_never().expect("done")) as Deed,
            true,
            true,
        ),
        case(
            "#[trace] future that is dropped",
            |_: &World, a| {
                let future = begun(pending(a));
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
            |_, _| Box::new(|| drop(tracing::info_span!("nobody's").entered())),
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
        expect(unused_mut, reason = "features have more")
    )]
    let mut cases: Vec<&Case> = CASES.iter().collect();
    #[cfg(feature = "macros")]
    cases.extend(traced::CASES);
    #[cfg(feature = "tracing")]
    cases.extend(tracing_spans::CASES);
    cases
}

/// Runs work on a thread, and waits until that dropped its variables too.
fn to_its_end(work: impl FnOnce() + Send) {
    // Joined: without that, a scope waits for the work alone.
    thread::scope(|threads| threads.spawn(work).join()).expect("it ends");
}

/// Runs a deed in the destructor of a thread's variable. What is kept first is dropped last.
fn run(case: &Case, is_kept_first: bool) {
    let world = World::new(&["a", "early", "late"]);
    #[cfg(feature = "tracing")]
    {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
        tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
    }
    let a = world.tenant("a");
    to_its_end(|| {
        if is_kept_first {
            KEPT.with_borrow(|_| ());
        }
        a.in_span("work", |_| ());
        let deed = (case.deed)(&world, a.clone());
        KEPT.with_borrow_mut(|kept| kept.0 = Some(deed));
    });
    world.flush();
    let names = world.names("a");
    assert!(names.iter().any(|name| name == "work"), "{names:?}");
    // One that was begun before the end of the thread is ended there.
    let is_begun_before = case.name.contains("that ");
    let is_there = case.makes_span && (!is_kept_first || is_begun_before);
    assert_eq!(
        names.iter().filter(|name| *name == "last").count(),
        usize::from(is_there),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name == "nobody's"), "{names:?}");
    // A future enters its scope whenever it is polled, and when it is dropped.
    let unattached = world.registry.status().unrouted.unattached;
    assert_eq!(
        unattached > 0,
        case.is_counted && is_kept_first,
        "{}: {unattached}",
        case.name
    );
}

#[test]
fn what_a_destructor_of_a_thread_does_runs_without_a_span_where_the_context_is_gone() {
    const TEST: &str = "thread_ends::what_a_destructor_of_a_thread_does_runs_without_a_span_where_the_context_is_gone";
    for case in cases() {
        for order in ["kept first", "kept last"] {
            if is_child(TEST, &[("CASE", case.name), ("ORDER", order)]) {
                let told = variable("CASE");
                let case = cases().into_iter().find(|case| case.name == told).expect("a case");
                return run(case, variable("ORDER") == "kept first");
            }
        }
    }
}

/// Nothing of this crate ran on the thread before, so nothing is known of it.
#[test]
fn a_thread_that_calls_this_crate_only_at_its_end_runs_on() {
    if !is_child::<&str>(
        "thread_ends::a_thread_that_calls_this_crate_only_at_its_end_runs_on",
        &[],
    ) {
        return;
    }
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    to_its_end(|| {
        KEPT.with_borrow(|_| ());
        #[expect(clippy::disallowed_methods, reason = "as a third party would")]
        drop(Context::current());
        let a = a.clone();
        let deed = move || {
            a.in_span("last", |_| assert!(TracerRegistry::current().is_none()));
        };
        KEPT.with_borrow_mut(|kept| kept.0 = Some(Box::new(deed)));
    });
    world.flush();
    assert_eq!(world.names("a"), [""; 0]);
    assert_eq!(world.registry.status().unrouted.unattached, 1);
}

/// What the order of the destructors rests on: a thread drops its variables in the reverse order in which they were made.
#[test]
fn a_thread_drops_first_what_it_made_last() {
    use std::sync::mpsc;

    struct Tells(mpsc::Sender<&'static str>, &'static str);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(self.1).expect("it listens");
        }
    }

    thread_local! {
        static FIRST: RefCell<Option<Tells>> = const { RefCell::new(None) };
        static SECOND: RefCell<Option<Tells>> = const { RefCell::new(None) };
    }

    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        FIRST.set(Some(Tells(tell.clone(), "first")));
        SECOND.set(Some(Tells(tell, "second")));
    })
    .join()
    .expect("it ends");
    assert_eq!(told.iter().collect::<Vec<_>>(), ["second", "first"]);
}
