//! The process that something was made in.
//!
//! A child that is forked has a copy of everything and none of the threads: what a thread held locked at that moment stays locked in the
//! child for good, and what a thread was to do is never done. So what was made before a fork is at home in the parent only. Asking where
//! one is costs a call of the system, so where spans end it is asked only when a lock is not free.

use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

/// The process that something was made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(u32);

impl Default for Home {
    fn default() -> Self {
        Self(process::id())
    }
}

impl Home {
    /// Whether this is a fork of that process.
    pub(crate) fn is_left(self) -> bool {
        process::id() != self.0
    }

    /// Locks; `None` in a fork where the lock is not free, and may never be.
    pub(crate) fn lock<T>(self, mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        match mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if self.is_left() => None,
            Err(TryLockError::WouldBlock) => Some(mutex.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Locks for reading, as [`lock`](Self::lock).
    pub(crate) fn read<T>(self, lock: &RwLock<T>) -> Option<RwLockReadGuard<'_, T>> {
        match lock.try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if self.is_left() => None,
            Err(TryLockError::WouldBlock) => Some(lock.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// As a fork has it: made by another process.
    const ELSEWHERE: Home = Home(0);

    #[test]
    fn away_from_home_a_lock_that_is_free_is_taken_and_another_is_not_waited_for() {
        let (mutex, lock) = (Mutex::new(1), RwLock::new(1));
        assert!(ELSEWHERE.is_left() && !Home::default().is_left());
        assert!(ELSEWHERE.lock(&mutex).is_some() && ELSEWHERE.read(&lock).is_some());
        let _held = (mutex.lock(), lock.write());
        assert!(ELSEWHERE.lock(&mutex).is_none() && ELSEWHERE.read(&lock).is_none());
    }

    #[test]
    fn at_home_a_lock_is_waited_for() {
        let (mutex, home) = (Mutex::new(1), Home::default());
        let held = mutex.lock();
        thread::scope(|threads| {
            let waits = threads.spawn(|| home.lock(&mutex).is_some());
            drop(held);
            assert!(waits.join().expect("no panic"));
        });
    }
}
