//! What callers and both threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::options::Notify;
use crate::{Depth, Done, Event, Failing, Health};

/// The error of a step that panicked.
pub(super) const PANICKED: &str = "the thread panicked";

/// What callers and both threads see.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Held during a checkpoint, so that one thread waits for the other's.
    pub(super) checkpoint: Mutex<()>,
}

impl Shared {
    pub(super) fn new(max_bytes: u64) -> Self {
        let depth = nothing(Health::Working, max_bytes);
        let state = Mutex::new(State {
            depth,
            checkpoint_asked: false,
        });
        Self {
            state,
            checkpoint: Mutex::new(()),
        }
    }
}

pub(super) struct State {
    pub(super) depth: Depth,
    /// Whether the reader was asked for a checkpoint.
    pub(super) checkpoint_asked: bool,
}

pub(super) fn nothing(health: Health, max_bytes: u64) -> Depth {
    Depth {
        health,
        rows: 0,
        spans: 0,
        events: 0,
        bytes: 0,
        max_bytes,
        waiting_bytes: 0,
        generation: 0,
    }
}

pub(super) fn closed(what: &'static str) -> Failing {
    Failing {
        what,
        error: "the spool is closed".to_owned(),
    }
}

/// Calls a caller's function. A panic in it is the caller's, and does not end the thread.
pub(super) fn call<T>(done: Done<T>, result: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
}

/// Reports an event. A panic of the receiver does not end the thread.
pub(super) fn report(notify: &Notify, event: Event) {
    let _ = catch_unwind(AssertUnwindSafe(|| notify(event)));
}

pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
