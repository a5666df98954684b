//! Forked processes, and locks that a forked child does not wait for.
//!
//! A forked child has a copy of all memory and none of the other threads. A lock that another thread held at that moment is never released in
//! the child, and work that another thread was to do is never done. So code that an application may run in a forked child (spans, look-ups,
//! status) takes a lock by [`ForkLock::lock_unless_forked`], and asks [`ForkGuard::is_forked_child`] before it waits for a thread. Reading the
//! process id is a system call, so it happens only when a lock is not free.

use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// The process that a value was made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard(u32);

impl Default for ForkGuard {
    fn default() -> Self {
        Self(process::id())
    }
}

impl ForkGuard {
    /// Returns whether this process is a forked child of the one that made the value.
    pub(crate) fn is_forked_child(self) -> bool {
        process::id() != self.0
    }
}

/// A mutex that ignores poison, and that a forked child need not wait for.
///
/// A panic while it is held poisons nothing: each user keeps its value valid at every step.
#[derive(Debug, Default)]
pub(crate) struct ForkLock<T> {
    made_in: ForkGuard,
    value: Mutex<T>,
}

impl<T> ForkLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            made_in: ForkGuard::default(),
            value: Mutex::new(value),
        }
    }

    /// Returns the value without locking.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, and waits while the lock is held. In a forked child it may wait forever: only for code that does not run there.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks. Returns `None` in a forked child if the lock is not free, because it may never be.
    pub(crate) fn lock_unless_forked(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if self.made_in.is_forked_child() => None,
            Err(TryLockError::WouldBlock) => Some(self.lock()),
        }
    }
}

/// Waits until the condition variable is notified or the time is over. Returns the guard, and whether the time is over.
pub(crate) fn wait_timeout<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, waited) = changed
        .wait_timeout(guard, time)
        .unwrap_or_else(PoisonError::into_inner);
    (guard, waited.timed_out())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// As a forked child has it: made in another process.
    fn inherited<T>(value: T) -> ForkLock<T> {
        ForkLock {
            made_in: ForkGuard(0),
            value: Mutex::new(value),
        }
    }

    #[test]
    fn a_forked_child_takes_a_free_lock_and_does_not_wait_for_another() {
        let lock = inherited(1);
        assert!(lock.made_in.is_forked_child() && !ForkGuard::default().is_forked_child());
        assert!(lock.lock_unless_forked().is_some());
        let _held = lock.lock();
        assert!(lock.lock_unless_forked().is_none());
    }

    #[test]
    fn the_process_that_made_a_lock_waits_for_it() {
        let lock = ForkLock::new(1);
        let held = lock.lock();
        thread::scope(|threads| {
            let waits = threads.spawn(|| lock.lock_unless_forked().is_some());
            drop(held);
            assert!(waits.join().expect("no panic"));
        });
    }

    #[test]
    fn a_panic_while_it_is_held_does_not_make_a_lock_unusable() {
        let lock = ForkLock::new(1);
        let died = thread::scope(|threads| {
            threads
                .spawn(|| {
                    let _held = lock.lock();
                    panic!("planted");
                })
                .join()
        });
        assert!(died.is_err());
        assert_eq!(*lock.lock(), 1);
        assert_eq!(lock.lock_unless_forked().map(|value| *value), Some(1));
    }
}
