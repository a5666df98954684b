//! Fork detection, and locks that cannot hang in a forked child.
//!
//! A forked child has a copy of all memory but only the forking thread. A lock that another thread
//! held at the fork is never released there, and work that another thread would do is never done.
//! Code that an application may run in a forked child (spans, look-ups, status) therefore locks
//! with [`ForkLock::lock_unless_forked`], and checks [`ForkGuard::is_forked_child`] before it waits
//! for a thread. Reading the process id is a system call, so `ForkLock` reads it only if the lock
//! is taken.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use std::{hint, process};

/// Number of retries on a held lock before the process id is compared.
const SPINS: u32 = 50;

/// Id of the process that created a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard(u32);

impl Default for ForkGuard {
    fn default() -> Self {
        Self(process::id())
    }
}

impl ForkGuard {
    /// Returns whether this process is a forked child of the one that created the value.
    pub(crate) fn is_forked_child(self) -> bool {
        process::id() != self.0
    }
}

/// Mutex that ignores poisoning and can be skipped in a forked child.
///
/// Ignoring poison is safe because each user keeps the value valid at every step.
#[derive(Debug, Default)]
pub(crate) struct ForkLock<T> {
    created_in: ForkGuard,
    value: Mutex<T>,
}

impl<T> ForkLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            created_in: ForkGuard::default(),
            value: Mutex::new(value),
        }
    }

    /// Returns the value without locking.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, and waits while another thread holds the lock. May wait forever in a forked child, so
    /// use it only in code that never runs there.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, and waits while another thread holds the lock. Returns `None` in a forked child if
    /// the lock is taken, because it may never be released.
    #[inline]
    pub(crate) fn lock_unless_forked(&self) -> Option<MutexGuard<'_, T>> {
        self.try_lock().or_else(|| self.wait_unless_forked())
    }

    /// Locks, unless another thread holds the lock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Retries first: most locks are held for a few instructions, and reading the process id is a
    /// system call.
    #[cold]
    fn wait_unless_forked(&self) -> Option<MutexGuard<'_, T>> {
        for _ in 0..SPINS {
            hint::spin_loop();
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
        }
        (!self.created_in.is_forked_child()).then(|| self.lock())
    }
}

/// Waits until the condition variable is notified or `time` has passed. Returns the guard and
/// whether the wait timed out.
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

    /// Returns a lock as a forked child sees it: created in another process.
    fn inherited<T>(value: T) -> ForkLock<T> {
        ForkLock {
            created_in: ForkGuard(0),
            value: Mutex::new(value),
        }
    }

    #[test]
    fn a_forked_child_takes_a_free_lock_and_skips_a_held_one() {
        let lock = inherited(1);
        assert!(lock.created_in.is_forked_child() && !ForkGuard::default().is_forked_child());
        assert!(lock.lock_unless_forked().is_some());
        let _held = lock.lock();
        assert!(lock.lock_unless_forked().is_none());
    }

    #[test]
    fn the_process_that_created_a_lock_waits_for_it() {
        let lock = ForkLock::new(1);
        let held = lock.lock();
        thread::scope(|threads| {
            let waits = threads.spawn(|| lock.lock_unless_forked().is_some());
            drop(held);
            assert!(waits.join().expect("no panic"));
        });
    }

    #[test]
    fn a_lock_stays_usable_after_a_panic_of_its_holder() {
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
