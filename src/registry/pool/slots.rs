//! Slots: one for each name, with a tracer that is there or one that a caller is making.
//!
//! | slot | event | slot |
//! |---|---|---|
//! | empty | a look-up, and there is room | building, by that caller |
//! | empty | a look-up, and there is no room | empty |
//! | building | a look-up | building; it waits for the builder |
//! | building | the builder has a tracer | ready; all that wait get it |
//! | building | the builder fails, or panics | empty; all that wait get that error |
//! | building | it is removed | empty; the builder and all that wait get the tracer, and it is not kept |
//! | ready | a look-up | ready; the handle is cloned and the use is noted, nothing is allocated |
//! | ready | its turn to be evicted, and it is idle | empty; only the pool had the tracer |
//! | ready | its turn to be evicted, and it was used, or is in use | ready |
//! | ready | it is removed | empty; the tracer lives on in its handles and spans |
//!
//! Each event is one step under the lock of the slot's shard: neither building, nor waiting, nor dropping a tracer happens in it. So what
//! can happen at once is some order of steps, and the tests go through every order.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::try_result::TryResult;

use crate::registry::error::LookupError;
use crate::util::fork::ForkGuard;

/// Tracers of type `T` by a key. A `T` is a handle: clones are the same tracer.
pub(super) struct Slots<K, T> {
    slots: DashMap<K, Slot<T>>,
    fork: ForkGuard,
}

enum Slot<T> {
    Building(Arc<Build<T>>),
    Ready { tracer: T, used: Used },
}

/// When a tracer was last used, by the pool's clock.
pub(super) struct Used(AtomicU64);

/// What a look-up found.
pub(super) enum Asked<T> {
    Found(T),
    /// Another caller is making it.
    Wait(Arc<Build<T>>),
    /// The caller must make it, and [`finish`](Slots::finish).
    Make(Arc<Build<T>>),
    /// It is not there, and there is no room for it.
    NoRoom,
}

/// A tracer that one caller is making.
pub(super) struct Build<T>(OnceLock<Result<T, LookupError>>);

impl<K: Eq + Hash + Clone, T: Clone> Slots<K, T> {
    /// Returns the tracer of a key, if it was made. In a forked child, only if its shard is not locked.
    pub(super) fn find<Q>(&self, key: &Q, now: u64) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let slot = match self.slots.try_get(key) {
            TryResult::Present(slot) => slot,
            // After a fork, a lock that another thread held is never released.
            TryResult::Locked if !self.fork.is_forked_child() => self.slots.get(key)?,
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

    /// Returns the tracer of a key, or which caller makes it. `admit` reserves the capacity that an empty slot needs, if there is some.
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
                let build = Arc::new(Build(OnceLock::new()));
                slot.insert(Slot::Building(Arc::clone(&build)));
                Asked::Make(build)
            }
        }
    }

    /// The builder is done: all that wait get the result. Returns whether that emptied the slot, so that its capacity is free.
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
            // Removed meanwhile, or another caller's by now.
            _ => false,
        };
        build.finish(result);
        freed
    }

    /// Removes a tracer that was not used since `seen` and is idle. Asked under the slot's lock: no look-up can get a handle meanwhile.
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

    /// Empties a slot, so that the next look-up makes a new tracer. Returns whether it was occupied.
    pub(super) fn remove(&self, key: &K) -> bool {
        // Dropped here, outside of the lock.
        self.slots.remove(key).is_some()
    }

    /// Removes a tracer that is there, if it is the one.
    pub(super) fn remove_if(&self, key: &K, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        let removed = self.slots.remove_if(key, |_, slot| match slot {
            Slot::Ready { tracer, .. } => is_it(tracer),
            Slot::Building(_) => false,
        });
        removed.and_then(|(_, slot)| slot.tracer())
    }

    /// Empties the slots of tracers that are being made: they go to the callers that wait for them, and are not kept. Returns how many.
    pub(super) fn remove_building(&self, concerned: impl Fn(&K) -> bool) -> usize {
        let mut removed = 0;
        self.slots.retain(|key, slot| {
            let goes = matches!(slot, Slot::Building(_)) && concerned(key);
            removed += usize::from(goes);
            !goes
        });
        removed
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
            fork: ForkGuard::default(),
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
    /// Relaxed, here and below: it only orders uses, and an order that is a little wrong costs nothing.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes only another time: threads that look up one name share the cache line.
    pub(super) fn note(&self, now: u64) {
        if self.get() != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

impl<T: Clone> Build<T> {
    fn finish(&self, result: Result<T, LookupError>) {
        // A build has one builder, which finishes once.
        drop(self.0.set(result));
    }

    /// Waits for the builder. A thread that is itself making a tracer never gets here, so threads never wait in a circle.
    pub(super) fn wait(&self) -> Result<T, LookupError> {
        self.0.wait().clone()
    }
}
