//! A lane's lock: the library's, or that of a model checker, which tries every order in which threads may take it.

#[cfg(not(all(test, tracer_registry_model)))]
pub(super) use {
    crate::util::fork::{ForkLock, wait_timeout},
    std::sync::Condvar,
};
#[cfg(all(test, tracer_registry_model))]
pub(super) use {loom::sync::Condvar, model::*};

/// The same by the checker's parts. A model has no forks and no poison.
#[cfg(all(test, tracer_registry_model))]
mod model {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(crate) struct ForkLock<T>(Mutex<T>);

    impl<T> ForkLock<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model has no poison")
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
        let (guard, waited) = changed.wait_timeout(guard, time).expect("a model has no poison");
        (guard, waited.timed_out())
    }
}
