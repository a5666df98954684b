//! Captured scopes, for use in another thread or task.

use std::fmt;

use futures_util::Stream;
use opentelemetry::Context;

use crate::context::{self, InScope, ScopeGuard};
use crate::session::Session;
use crate::tracer::TracerHandle;

/// A captured scope: the current tracer, session, span and baggage, for use in another thread, task
/// or callback. Like Python's `contextvars.copy_context()`.
///
/// Cheap to clone, `Send` and `Sync`. Move it into a thread's closure, send it with a message, or
/// store it with a callback. It wraps an OpenTelemetry [`Context`], so code that passes contexts on
/// also passes scopes on.
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
    /// Captures the current scope of this thread or task.
    pub fn current() -> Self {
        Self { cx: context::current() }
    }

    /// Returns the tracer of the scope. `None` outside any scope.
    pub fn tracer(&self) -> Option<TracerHandle> {
        let (owner, _) = context::scope_of(&self.cx)?;
        TracerHandle::of_scope(owner)
    }

    /// Returns the session of the scope, as [`Session::current`] does.
    pub fn session(&self) -> Option<Session> {
        Session::of_context(&self.cx)
    }

    /// Makes the scope current on this thread, in place of the current one, until the guard is
    /// dropped.
    ///
    /// The guard cannot move to another thread:
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

    /// Runs a closure in the scope.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        f()
    }

    /// Wraps a closure so that it runs in the scope, for `std::thread::spawn`, `spawn_blocking` or
    /// a thread pool.
    pub fn wrap<F, T>(&self, f: F) -> impl FnOnce() -> T + use<F, T>
    where
        F: FnOnce() -> T,
    {
        let scope = self.clone();
        move || scope.run(f)
    }

    /// Runs a future in the scope, on any thread.
    ///
    /// # Cancel safety
    /// Same as the future's.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.cx.clone())
    }

    /// Wraps a stream so that it is polled in the scope. Code that consumes its items runs outside
    /// the scope.
    pub fn stream<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        InScope::new(stream, self.cx.clone())
    }

    /// Returns the scope's OpenTelemetry context.
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
