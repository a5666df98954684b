//! A lane's lock: the standard library's, or that of a model checker, which tries every order in which threads may take it.

#[cfg(all(test, tracer_registry_model))]
pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, tracer_registry_model)))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

use crate::home::Home;

/// Locks; `None` in a fork where the lock is not free.
#[cfg(not(all(test, tracer_registry_model)))]
pub(super) fn lock_at<T>(home: Home, mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    home.lock(mutex)
}

/// The model has no forks.
#[cfg(all(test, tracer_registry_model))]
pub(super) fn lock_at<T>(_home: Home, mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    Some(mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
