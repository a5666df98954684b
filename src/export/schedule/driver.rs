//! What moves the tasks of an engine: threads of its own, or whoever flushes.
//!
//! With `export.mode = "inline"` there are no threads. The tasks are on a runtime that stands
//! still, until somebody flushes: that thread takes the runtime, moves all tasks until what it
//! waits for is settled or its time is over, and puts it back. Who flushes meanwhile waits beside
//! it: its lanes are moved along, and if they need longer than the other flush, it takes the
//! runtime over.

use std::future::Future;
use std::io;
use std::sync::Condvar;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::blocking::THREADS;
use super::stopwatch::Stopwatch;
use super::workers;
use crate::context;
use crate::util::fork::{ForkLock, wait_timeout};

/// What moves the tasks of an engine.
pub(crate) enum Driver {
    /// Threads of the engine.
    Background(ForkLock<Option<Runtime>>),
    /// Whoever flushes.
    Inline(Inline),
}

/// A runtime that stands still unless somebody moves it.
pub(crate) struct Inline {
    handle: Handle,
    state: ForkLock<RuntimeState>,
    /// For those who wait while somebody else moves the tasks: notified when something has its
    /// outcome, and when nobody moves them any more.
    changed: Condvar,
    /// For the one who moves them: notified when something has its outcome.
    settled: Notify,
    /// Stands still while nobody moves them.
    clock: Stopwatch,
}

enum RuntimeState {
    Free(Runtime),
    Taken,
    Stopped,
}

impl Driver {
    pub(crate) fn background() -> io::Result<Self> {
        Ok(Self::Background(ForkLock::new(Some(workers::runtime()?))))
    }

    pub(crate) fn inline() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            // Sockets are looked at before each task: a connection that the server closed while
            // everything stood still is known to be closed before a request is sent on it.
            .event_interval(1)
            .enable_all()
            .build()?;
        Ok(Self::Inline(Inline {
            handle: runtime.handle().clone(),
            state: ForkLock::new(RuntimeState::Free(runtime)),
            changed: Condvar::new(),
            settled: Notify::new(),
            clock: Stopwatch::stopped(),
        }))
    }

    /// For tests that are the engine themselves.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        Self::Background(ForkLock::default())
    }

    pub(crate) fn inlined(&self) -> Option<&Inline> {
        match self {
            Self::Background(_) => None,
            Self::Inline(inline) => Some(inline),
        }
    }

    /// Where tasks are started; none where it was stopped.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Self::Background(runtime) => runtime.lock().as_ref().map(|runtime| runtime.handle().clone()),
            Self::Inline(inline) => Some(inline.handle.clone()),
        }
    }

    /// Starts a task; where the driver was stopped, it is dropped.
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

    /// Ends all tasks, and does not wait for them.
    pub(crate) fn stop(&self) {
        let runtime = match self {
            Self::Background(runtime) => runtime.lock().take(),
            Self::Inline(inline) => inline.stop(),
        };
        // A runtime that is dropped by itself waits, and panics inside another runtime.
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// Now, on a clock that stands still while nobody moves the tasks: what waits for its
    /// repetition does not grow old in a process that is frozen between two flushes.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Background(_) => tokio::time::Instant::now().into_std(),
            Self::Inline(inline) => inline.clock.now(),
        }
    }

    /// Whether a time may pass for others that does not pass on its clock.
    pub(crate) fn may_stand_still(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Something was settled.
    pub(crate) fn notify_completed(&self) {
        if let Self::Inline(inline) = self {
            inline.settled.notify_one();
        }
    }
}

impl Inline {
    /// Moves all tasks, or waits for somebody who does, until it is `done` or until the deadline.
    pub(crate) fn drive(&self, deadline: Instant, mut done: impl FnMut() -> bool + Send) {
        let mut state = self.state.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(*state, RuntimeState::Stopped) || done() || left.is_zero() {
                return;
            }
            match std::mem::replace(&mut *state, RuntimeState::Taken) {
                RuntimeState::Free(runtime) => {
                    self.clock.start();
                    drop(state);
                    return self.run(runtime, deadline, done);
                }
                taken => *state = taken,
            }
            (state, _) = wait_timeout(&self.changed, state, left);
        }
    }

    fn run(&self, runtime: Runtime, deadline: Instant, done: impl FnMut() -> bool + Send) {
        // Puts it back also where `done` panics.
        let taken = Taken {
            of: self,
            runtime: Some(runtime),
        };
        if Handle::try_current().is_err() {
            return taken.run(deadline, done);
        }
        // A thread that is in a runtime cannot run another one. It waits here for one that can.
        thread::scope(|threads| {
            let thread = thread::Builder::new().name(THREADS.to_owned());
            if let Err(error) = thread.spawn_scoped(threads, || taken.run(deadline, done)) {
                tracing::warn!("nothing is flushed: a thread for it cannot be started: {error}");
            }
        });
    }

    fn stop(&self) -> Option<Runtime> {
        let state = std::mem::replace(&mut *self.state.lock(), RuntimeState::Stopped);
        self.changed.notify_all();
        match state {
            RuntimeState::Free(runtime) => Some(runtime),
            // Who has it ends it.
            RuntimeState::Taken | RuntimeState::Stopped => None,
        }
    }
}

/// The right to move the tasks.
struct Taken<'a> {
    of: &'a Inline,
    runtime: Option<Runtime>,
}

impl Taken<'_> {
    fn run(self, deadline: Instant, mut done: impl FnMut() -> bool) {
        let _quiet = context::suppress();
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            while !done() {
                // Under the lock: who looked before it is told after it waits.
                drop(self.of.state.lock());
                self.of.changed.notify_all();
                // Notified between the look and here, it does not wait.
                if tokio::time::timeout_at(deadline.into(), self.of.settled.notified())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
    }
}

impl Drop for Taken<'_> {
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
