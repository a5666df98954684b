//! Carries a session to other threads and tasks.
//!
//! A scope must be captured with the work; it is never inherited. A new thread starts outside every
//! scope.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::Backend;
use tracer_registry::{Scope, TracerRegistry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["acme"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("acme", backend.key("acme"))
        .build()?;
    let acme = registry.tenant_async("acme").await?;
    let session = acme.session("job").start();

    // A thread: clones of the handles move in, and the thread enters the session.
    let (tracer, of_thread) = (acme.clone(), session.clone());
    let worker = thread::spawn(move || {
        let _in_session = of_thread.enter();
        tracer.in_span("on a thread", |_| ());
    });
    worker.join().expect("it does not panic");

    // Scoped threads borrow the handles.
    thread::scope(|threads| {
        for number in 1..=2 {
            let (acme, session) = (&acme, &session);
            threads.spawn(move || {
                let _in_session = session.enter();
                acme.in_span(format!("on scoped thread {number}"), |_| ());
            });
        }
    });

    // A task: the wrapped future keeps its scope on whichever thread polls it.
    let task = acme.in_span_async("in a task", async |_| tokio::task::yield_now().await);
    tokio::spawn(session.scope(task)).await?;

    // A blocking task works like a thread.
    let (tracer, of_blocking) = (acme.clone(), session.clone());
    let blocking = tokio::task::spawn_blocking(move || {
        let _in_session = of_blocking.enter();
        tracer.in_span("in a blocking task", |_| ());
    });
    blocking.await?;

    // A channel: the message carries its scope, independent of the receiver's scope.
    let (jobs, inbox) = mpsc::channel::<(Scope, &'static str)>();
    let tracer = acme.clone();
    let receiver = thread::spawn(move || {
        for (scope, name) in inbox {
            scope.run(|| tracer.in_span(name, |_| ()));
        }
    });
    session
        .scope(async { jobs.send((Scope::current(), "from a channel")) })
        .await?;
    drop(jobs);
    receiver.join().expect("it does not panic");

    // Without any of this the span still belongs to its tracer, but to no session.
    let _in_session = session.enter();
    thread::scope(|threads| {
        threads.spawn(|| acme.in_span("not in the session", |_| ()));
    });

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    let project = backend.project("acme");
    let (inside, outside): (Vec<_>, Vec<_>) = project
        .spans()
        .iter()
        .partition(|span| span.session_id.as_deref() == Some(session.id()));
    for (title, spans) in [("in the session", &inside), ("outside", &outside)] {
        let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        println!("{title}: {}", names.join(", "));
    }
    assert_eq!((inside.len(), outside.len()), (6, 1));
    Ok(())
}
