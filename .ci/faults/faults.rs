//! Functions for the patches in this folder. `.ci/faults/run` copies them to `src/faults.rs` of the
//! library and of the stream in the scratch copy.
//!
//! The first argument of each function is the name of a fault. The function has no effect unless
//! the variable `TRACER_REGISTRY_FAULT` has that name.

use std::any::Any;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

thread_local! {
    static KEPT: Cell<Option<&'static (dyn Any + Send + Sync)>> = const { Cell::new(None) };
}

pub fn planted(fault: &str) -> bool {
    static SELECTED: LazyLock<String> = LazyLock::new(|| std::env::var("TRACER_REGISTRY_FAULT").unwrap_or_default());
    *SELECTED == fault
}

/// Returns true in one of 97 calls, because a permanent fault is too easy to detect.
pub fn now_and_then(fault: &str) -> bool {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    planted(fault) && ASKED.fetch_add(1, Ordering::Relaxed) % 97 == 96
}

/// Keeps a value for [`kept`] on this thread. Leaks it, because the program runs only for a short
/// time.
pub fn keep<T: Clone + Send + Sync + 'static>(fault: &str, value: &T) {
    if planted(fault) {
        KEPT.set(Some(Box::leak(Box::new(value.clone()))));
    }
}

/// Returns the last value that was kept on this thread.
pub fn kept<T: 'static>(fault: &str) -> Option<&'static T> {
    KEPT.get().filter(|_| planted(fault))?.downcast_ref()
}

/// Returns the value of the previous call.
pub fn previous<T: Clone + Send + Sync + 'static>(fault: &str, value: &T) -> Option<T> {
    static PREVIOUS: Mutex<Option<Box<dyn Any + Send + Sync>>> = Mutex::new(None);
    if !planted(fault) {
        return None;
    }
    let mut previous = PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = previous.replace(Box::new(value.clone()))?;
    before.downcast().ok().map(|before| *before)
}
