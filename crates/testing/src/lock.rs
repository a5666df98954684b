//! The one way to lock here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A panic under a lock leaves whole values, so poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
