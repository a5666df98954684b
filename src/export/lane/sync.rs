//! Lock and condition variable of a lane: the library's, or loom's in model-checking tests.

#[cfg(not(all(test, tracer_registry_model)))]
pub(super) use {
    crate::util::fork::{ForkLock, wait_timeout},
    std::sync::Condvar,
};
#[cfg(all(test, tracer_registry_model))]
pub(super) use {loom::sync::Condvar, model::*};

/// Loom's counterparts. A model has no forks and no poisoned locks.
#[cfg(all(test, tracer_registry_model))]
mod model {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(crate) struct ForkLock<T>(Mutex<T>);

    impl<T> ForkLock<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model has no poisoned locks")
        }

        pub(crate) fn lock_unless_forked(&self) -> Option<MutexGuard<'_, T>> {
            Some(self.lock())
        }
    }

    pub(crate) fn wait_timeout<'a, T>(
        changed: &Condvar,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let (guard, waited) = changed
            .wait_timeout(guard, time)
            .expect("a model has no poisoned locks");
        (guard, waited.timed_out())
    }
}
