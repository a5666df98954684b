//! The driver of an engine's tasks: background threads, or the threads that flush.
//!
//! With `export.mode = "inline"` there are no threads. The tasks belong to a paused runtime. A
//! thread that flushes takes the runtime, runs all tasks until its flush completes or times out,
//! and puts it back. Concurrent flushes wait: the running thread drives their tasks too, and if
//! they need longer, one of them takes the runtime over.

use std::future::Future;
use std::io;
use std::sync::Condvar;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::blocking::THREAD_NAME;
use super::stopwatch::Stopwatch;
use super::workers;
use crate::context;
use crate::util::fork::{ForkLock, wait_timeout};

/// Driver of an engine's tasks.
pub(crate) enum Driver {
    /// Background threads. `None` once stopped.
    Background(ForkLock<Option<Runtime>>),
    /// The threads that flush.
    Inline(Inline),
}

/// A runtime that runs only while a thread drives it.
pub(crate) struct Inline {
    handle: Handle,
    state: ForkLock<RuntimeState>,
    /// Notifies waiting flushes when something completes, and when the driving thread puts the
    /// runtime back.
    changed: Condvar,
    /// Notifies the driving thread when something completes.
    completed: Notify,
    /// Runs only while a thread drives the tasks.
    clock: Stopwatch,
}

enum RuntimeState {
    Free(Runtime),
    Driven,
    Stopped,
}

impl Driver {
    pub(crate) fn background() -> io::Result<Self> {
        Ok(Self::Background(ForkLock::new(Some(workers::runtime()?))))
    }

    pub(crate) fn inline() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            // Poll sockets before each task, so that a connection closed by the server during the
            // pause is detected before it is used.
            .event_interval(1)
            .enable_all()
            .build()?;
        Ok(Self::Inline(Inline {
            handle: runtime.handle().clone(),
            state: ForkLock::new(RuntimeState::Free(runtime)),
            changed: Condvar::new(),
            completed: Notify::new(),
            clock: Stopwatch::stopped(),
        }))
    }

    /// Creates a driver without a runtime, for tests that act as the engine.
    #[cfg(test)]
    pub(crate) fn without_runtime() -> Self {
        Self::Background(ForkLock::default())
    }

    pub(crate) fn as_inline(&self) -> Option<&Inline> {
        match self {
            Self::Background(_) => None,
            Self::Inline(inline) => Some(inline),
        }
    }

    /// Returns the runtime's handle, or `None` if background threads are stopped.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Self::Background(runtime) => runtime.lock().as_ref().map(|runtime| runtime.handle().clone()),
            Self::Inline(inline) => Some(inline.handle.clone()),
        }
    }

    /// Returns whether background threads are stopped.
    #[cfg(feature = "spool")]
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self, Self::Background(runtime) if runtime.lock().is_none())
    }

    /// Spawns a task. Drops it if the driver is stopped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Background(runtime) => {
                if let Some(runtime) = runtime.lock().as_ref() {
                    runtime.spawn(task);
                }
            }
            Self::Inline(inline) => drop(inline.handle.spawn(task)),
        }
    }

    /// Cancels all tasks without waiting for them.
    pub(crate) fn stop(&self) {
        let runtime = match self {
            Self::Background(runtime) => runtime.lock().take(),
            Self::Inline(inline) => inline.stop(),
        };
        // Dropping a runtime would block, and panic inside another runtime.
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// Returns the current time of a clock that runs only while the tasks are driven. So waiting
    /// requests do not expire in a process that is frozen between two flushes.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Background(_) => tokio::time::Instant::now().into_std(),
            Self::Inline(inline) => inline.clock.now(),
        }
    }

    /// Returns whether the driver's clock may stop while real time passes.
    pub(crate) fn may_pause(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Notifies the driving thread that something completed.
    pub(crate) fn notify_completed(&self) {
        if let Self::Inline(inline) = self {
            inline.completed.notify_one();
        }
    }
}

impl Inline {
    /// Drives all tasks, or waits while another thread does, until `done` returns true or the
    /// deadline passes.
    pub(crate) fn drive(&self, deadline: Instant, mut done: impl FnMut() -> bool + Send) {
        let mut state = self.state.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(*state, RuntimeState::Stopped) || done() || left.is_zero() {
                return;
            }
            match std::mem::replace(&mut *state, RuntimeState::Driven) {
                RuntimeState::Free(runtime) => {
                    self.clock.start();
                    drop(state);
                    return self.run(runtime, deadline, done);
                }
                driven => *state = driven,
            }
            (state, _) = wait_timeout(&self.changed, state, left);
        }
    }

    fn run(&self, runtime: Runtime, deadline: Instant, done: impl FnMut() -> bool + Send) {
        // The guard puts the runtime back, even if `done` panics.
        let guard = DriveGuard {
            of: self,
            runtime: Some(runtime),
        };
        if Handle::try_current().is_err() {
            return guard.run(deadline, done);
        }
        // A thread inside a runtime cannot run another one, so a helper thread does.
        thread::scope(|threads| {
            let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
            if let Err(error) = thread.spawn_scoped(threads, || guard.run(deadline, done)) {
                tracing::warn!("flush failed: cannot start a thread: {error}");
            }
        });
    }

    fn stop(&self) -> Option<Runtime> {
        let state = std::mem::replace(&mut *self.state.lock(), RuntimeState::Stopped);
        self.changed.notify_all();
        match state {
            RuntimeState::Free(runtime) => Some(runtime),
            // The driving thread ends it.
            RuntimeState::Driven | RuntimeState::Stopped => None,
        }
    }
}

/// Holds the runtime while a thread drives it, and puts it back on drop.
struct DriveGuard<'a> {
    of: &'a Inline,
    runtime: Option<Runtime>,
}

impl DriveGuard<'_> {
    fn run(self, deadline: Instant, mut done: impl FnMut() -> bool) {
        let _quiet = context::suppress();
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            while !done() {
                // Lock first: a thread that checked before waits by now and gets the notification.
                drop(self.of.state.lock());
                self.of.changed.notify_all();
                // A notification since the check is stored, so none is lost.
                if tokio::time::timeout_at(deadline.into(), self.of.completed.notified())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
    }
}

impl Drop for DriveGuard<'_> {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let mut state = self.of.state.lock();
        if matches!(*state, RuntimeState::Stopped) {
            drop(state);
            runtime.shutdown_background();
        } else {
            self.of.clock.stop();
            *state = RuntimeState::Free(runtime);
            drop(state);
        }
        self.of.changed.notify_all();
    }
}
