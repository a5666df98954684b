//! A lane's lock: the standard library's, or that of a model checker, which tries every order in which threads may take it.

#[cfg(all(test, tracer_registry_model))]
pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, tracer_registry_model)))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
