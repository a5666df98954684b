//! Captured scopes, for use in another thread or task.

use std::fmt;

use futures_util::Stream;
use opentelemetry::Context;

use crate::context::{self, InScope, ScopeGuard};
use crate::session::Session;
use crate::tracer::TracerHandle;

/// A captured scope: the tracer, session, span and baggage that were current, for use elsewhere.
/// Like Python's `contextvars.copy_context()`.
///
/// Cheap to clone, `Send` and `Sync`. Pass it to wherever the work continues: in a closure for a
/// thread, with a message in a channel, behind a callback's pointer. It wraps an OpenTelemetry
/// [`Context`], so code that moves contexts also moves scopes.
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
    /// Captures the scope that is current on this thread or in this task.
    pub fn current() -> Self {
        Self { cx: context::current() }
    }

    /// Returns the tracer that code in the scope runs for.
    pub fn tracer(&self) -> Option<TracerHandle> {
        let (owner, _) = context::scope_of(&self.cx)?;
        TracerHandle::of_scope(owner)
    }

    /// Returns the session of the scope, as [`Session::current`] does.
    pub fn session(&self) -> Option<Session> {
        Session::of_context(&self.cx)
    }

    /// Makes the scope current on this thread until the guard is dropped, replacing the current
    /// one.
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

    /// Runs a closure in the scope.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        f()
    }

    /// Wraps a closure to run in the scope wherever it is called, such as in `std::thread::spawn`,
    /// `spawn_blocking` or a thread pool.
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

    /// Polls a stream in the scope. Code that consumes the items runs outside it.
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
