//! Scopes as values: what is current in one place, to be used in another.

use std::fmt;

use futures_util::Stream;
use opentelemetry::Context;

use crate::context::{self, InScope, ScopeGuard};
use crate::session::Session;
use crate::tracer::TracerHandle;

/// What was current in one place, to be used in another: the tracer, its session, its span and its baggage. What Python calls
/// `contextvars.copy_context()`.
///
/// Cheap to clone, `Send` and `Sync`. Work takes it along to wherever it goes on: in a closure for a thread, beside a message in a channel,
/// behind the pointer of a callback. It is an OpenTelemetry [`Context`], so whatever moves contexts moves scopes as well.
///
/// ```
/// use std::sync::mpsc;
/// use tracer_registry::{Scope, TracerHandle};
///
/// # fn demo(acme: TracerHandle) {
/// let (jobs, inbox) = mpsc::channel::<(Scope, &str)>();
/// let worker = std::thread::spawn(move || {
///     for (scope, question) in inbox {
///         scope.run(|| println!("{question} is asked by {:?}", scope.tracer()));
///     }
/// });
///
/// acme.in_span("ask", |_| jobs.send((Scope::current(), "why?")));      // spans of the worker are children of `ask`
/// # drop(jobs);
/// # worker.join().unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct Scope {
    cx: Context,
}

impl Scope {
    /// Returns what is current on this thread, or in this task.
    pub fn current() -> Self {
        Self { cx: context::current() }
    }

    /// Returns the tracer that code in it runs for.
    pub fn tracer(&self) -> Option<TracerHandle> {
        let (owner, _) = context::scope_of(&self.cx)?;
        TracerHandle::of_scope(owner)
    }

    /// Returns its session, as [`Session::current`].
    pub fn session(&self) -> Option<Session> {
        Session::of_context(&self.cx)
    }

    /// Makes it current on this thread until the guard is dropped, in place of what was current before.
    ///
    /// The guard stays on its thread:
    ///
    /// ```compile_fail,E0277
    /// # fn demo(scope: tracer_registry::Scope) {
    /// let entered = scope.enter();
    /// std::thread::spawn(move || drop(entered));
    /// # }
    /// ```
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> ScopeGuard {
        context::attach(&self.cx)
    }

    /// Runs a closure in it.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        f()
    }

    /// Returns a closure that runs in it, wherever it is called: for `std::thread::spawn`, `spawn_blocking`, a thread pool.
    pub fn wrap<F, T>(&self, f: F) -> impl FnOnce() -> T + use<F, T>
    where
        F: FnOnce() -> T,
    {
        let scope = self.clone();
        move || scope.run(f)
    }

    /// Runs a future in it, on whatever thread.
    ///
    /// # Cancel safety
    /// As that of the future.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.cx.clone())
    }

    /// Polls a stream in it: the stream makes its items in the scope; the code that uses them is not in it.
    pub fn stream<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        InScope::new(stream, self.cx.clone())
    }

    /// Its OpenTelemetry context.
    pub fn context(&self) -> &Context {
        &self.cx
    }
}

impl From<Context> for Scope {
    fn from(cx: Context) -> Self {
        Self { cx }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scope = f.debug_struct("Scope");
        scope.field("tracer", &self.tracer()).field("session", &self.session());
        scope.finish_non_exhaustive()
    }
}
