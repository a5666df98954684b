//! Lock and condition variable of a lane: the library's, or loom's in model-checking tests.

#[cfg(not(all(test, tracer_registry_model)))]
use std::cell::Cell;
#[cfg(not(all(test, tracer_registry_model)))]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(not(all(test, tracer_registry_model)))]
pub(super) use {
    crate::util::fork::{ForkLock, wait_timeout},
    std::sync::{Condvar, MutexGuard as Guard},
};
#[cfg(all(test, tracer_registry_model))]
pub(super) use {
    loom::sync::{Condvar, MutexGuard as Guard},
    model::*,
};

#[cfg(not(all(test, tracer_registry_model)))]
thread_local! {
    static THREAD_NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Returns a number of this thread. Threads that ask one after another have consecutive numbers.
#[cfg(not(all(test, tracer_registry_model)))]
#[inline]
pub(super) fn thread_number() -> usize {
    match THREAD_NUMBER.get() {
        usize::MAX => {
            renumber_thread();
            THREAD_NUMBER.get()
        }
        number => number,
    }
}

/// Gives this thread the next number.
#[cfg(not(all(test, tracer_registry_model)))]
#[cold]
pub(super) fn renumber_thread() {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    THREAD_NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
}

/// Gives this thread another number.
#[cfg(all(test, not(tracer_registry_model)))]
pub(super) fn set_thread_number(number: usize) {
    THREAD_NUMBER.set(number);
}

/// Loom's counterparts. A model has no forks and no poisoned locks.
#[cfg(all(test, tracer_registry_model))]
mod model {
    use std::cell::Cell;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    loom::thread_local! {
        static THREAD_NUMBER: Cell<usize> = Cell::new(0);
    }

    pub(crate) fn thread_number() -> usize {
        THREAD_NUMBER.with(Cell::get)
    }

    /// Does nothing: a model has as many stripes as it needs.
    pub(crate) fn renumber_thread() {}

    pub(crate) fn set_thread_number(number: usize) {
        THREAD_NUMBER.with(|own| own.set(number));
    }

    #[derive(Debug, Default)]
    pub(crate) struct ForkLock<T>(Mutex<T>);

    impl<T> ForkLock<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model has no poisoned locks")
        }

        pub(crate) fn lock_unless_forked(&self) -> Option<MutexGuard<'_, T>> {
            Some(self.lock())
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
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
