//! Slots: one for each name, with a tracer that is there or one that somebody is making.
//!
//! | slot | event | slot |
//! |---|---|---|
//! | empty | a look-up, and there is room | building, by that caller |
//! | empty | a look-up, and there is no room | empty |
//! | building | a look-up | building; it waits for the builder |
//! | building | the builder has a tracer | ready; all who wait get it |
//! | building | the builder fails, or panics | empty; all who wait get that error |
//! | building | it is taken out | empty; the builder and all who wait get the tracer, and it is not kept |
//! | ready | a look-up | ready; the handle is cloned and the use is noted, nothing is allocated |
//! | ready | its turn to be evicted, and it is idle | empty; the tracer was nobody's but the pool's |
//! | ready | its turn to be evicted, and it was used, or is in use | ready |
//! | ready | it is taken out | empty; the tracer lives on in its handles and spans |
//!
//! Each event is one step under the lock of the slot's shard: neither building, nor waiting, nor dropping a tracer happens in it. So what
//! can happen at once is some order of steps, and the tests go through every order.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::try_result::TryResult;

use crate::registry::error::LookupError;
use crate::util::fork::ForkGuard;

/// Tracers of type `T` by a key. A `T` is a handle: clones are the same tracer.
pub(super) struct Slots<K, T> {
    slots: DashMap<K, Slot<T>>,
    home: ForkGuard,
}

enum Slot<T> {
    Building(Arc<Build<T>>),
    Ready { tracer: T, used: Used },
}

/// When a tracer was used last, by the pool's clock.
pub(super) struct Used(AtomicU64);

/// What a look-up came upon.
pub(super) enum Asked<T> {
    Found(T),
    /// Somebody is making it.
    Wait(Arc<Build<T>>),
    /// Nobody is: the caller is to make it, and to [`finish`](Slots::finish).
    Make(Arc<Build<T>>),
    /// It is not there, and there is no room for it.
    NoRoom,
}

/// A tracer that one caller is making.
pub(super) struct Build<T> {
    result: Mutex<Option<Result<T, LookupError>>>,
    done: Condvar,
}

impl<K: Eq + Hash + Clone, T: Clone> Slots<K, T> {
    /// The tracer of a key, if it was made. In a fork, only where its place is not locked.
    pub(super) fn find<Q>(&self, key: &Q, now: u64) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let slot = match self.slots.try_get(key) {
            TryResult::Present(slot) => slot,
            // In a fork, whatever is locked now may stay so.
            TryResult::Locked if !self.home.is_forked_child() => self.slots.get(key)?,
            TryResult::Absent | TryResult::Locked => return None,
        };
        match slot.value() {
            Slot::Ready { tracer, used } => {
                used.note(now);
                Some(tracer.clone())
            }
            Slot::Building(_) => None,
        }
    }

    /// The tracer of a key, or who is to make it. `admit` takes the place that an empty slot needs, where there is one.
    pub(super) fn ask(&self, key: &K, now: u64, admit: impl FnOnce() -> bool) -> Asked<T> {
        match self.slots.entry(key.clone()) {
            Entry::Occupied(slot) => match slot.get() {
                Slot::Ready { tracer, used } => {
                    used.note(now);
                    Asked::Found(tracer.clone())
                }
                Slot::Building(build) => Asked::Wait(Arc::clone(build)),
            },
            Entry::Vacant(_) if !admit() => Asked::NoRoom,
            Entry::Vacant(slot) => {
                let build = Arc::new(Build::default());
                slot.insert(Slot::Building(Arc::clone(&build)));
                Asked::Make(build)
            }
        }
    }

    /// The builder is done: all who wait get the result. Gives whether the slot is empty now, and its place free.
    pub(super) fn finish(&self, key: &K, build: &Arc<Build<T>>, result: Result<T, LookupError>, now: u64) -> bool {
        let freed = match (self.slots.entry(key.clone()), &result) {
            (Entry::Occupied(mut slot), Ok(tracer)) if slot.get().is_built_by(build) => {
                slot.insert(Slot::Ready {
                    tracer: tracer.clone(),
                    used: Used(AtomicU64::new(now)),
                });
                false
            }
            (Entry::Occupied(slot), Err(_)) if slot.get().is_built_by(build) => {
                slot.remove();
                true
            }
            // Taken out meanwhile, or somebody else's by now.
            _ => false,
        };
        build.finish(result);
        freed
    }

    /// Takes a tracer out that was not used since `seen` and is idle. It is asked under the slot's lock: nobody can come by a handle meanwhile.
    pub(super) fn evict(&self, key: &K, seen: u64, is_idle: impl FnOnce(&mut T) -> bool, now: u64) -> Option<T> {
        let evicted = self.slots.remove_if_mut(key, |_, slot| match slot {
            Slot::Ready { tracer, used } if used.get() == seen => {
                let idle = is_idle(tracer);
                if !idle {
                    used.note(now);
                }
                idle
            }
            _ => false,
        });
        evicted.and_then(|(_, slot)| slot.tracer())
    }

    /// Empties a slot, whatever is in it, so that the next look-up makes a new tracer. False where it was empty.
    pub(super) fn take_out(&self, key: &K) -> bool {
        // Dropped here, outside of the lock.
        self.slots.remove(key).is_some()
    }

    /// Takes this tracer out, where it is still the one that is there.
    pub(super) fn take_out_only(&self, key: &K, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        let taken = self.slots.remove_if(key, |_, slot| match slot {
            Slot::Ready { tracer, .. } => is_it(tracer),
            Slot::Building(_) => false,
        });
        taken.and_then(|(_, slot)| slot.tracer())
    }

    /// Empties the slots of those tracers that are being made: they go to those who wait for them, and are not kept. Gives how many.
    pub(super) fn take_out_unfinished(&self, concerned: impl Fn(&K) -> bool) -> usize {
        let mut taken = 0;
        self.slots.retain(|key, slot| {
            let goes = matches!(slot, Slot::Building(_)) && concerned(key);
            taken += usize::from(goes);
            !goes
        });
        taken
    }

    /// Shows all tracers that are there.
    pub(super) fn each(&self, mut show: impl FnMut(&K, &T, &Used)) {
        for slot in &self.slots {
            if let Slot::Ready { tracer, used } = slot.value() {
                show(slot.key(), tracer, used);
            }
        }
    }
}

impl<K: Eq + Hash, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self {
            slots: DashMap::new(),
            home: ForkGuard::default(),
        }
    }
}

impl<T> Slot<T> {
    fn is_built_by(&self, build: &Arc<Build<T>>) -> bool {
        matches!(self, Self::Building(mine) if Arc::ptr_eq(mine, build))
    }

    fn tracer(self) -> Option<T> {
        match self {
            Self::Ready { tracer, .. } => Some(tracer),
            Self::Building(_) => None,
        }
    }
}

impl Used {
    /// Relaxed, here and below: an order of uses is all that it is for, and one that is a little wrong costs nothing.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Not written where it is the same: threads that look one name up leave each other the cache line.
    pub(super) fn note(&self, now: u64) {
        if self.get() != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

impl<T> Default for Build<T> {
    fn default() -> Self {
        Self {
            result: Mutex::default(),
            done: Condvar::new(),
        }
    }
}

impl<T: Clone> Build<T> {
    fn finish(&self, result: Result<T, LookupError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.done.notify_all();
    }

    /// Waits for the builder. A thread that is itself making a tracer never gets here, so nobody waits in a circle.
    pub(super) fn wait(&self) -> Result<T, LookupError> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.as_ref() {
                return result.clone();
            }
            result = self.done.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
