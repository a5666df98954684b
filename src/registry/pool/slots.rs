//! Slots: one per key, with a tracer that is ready or that a caller is building.
//!
//! | slot | event | slot |
//! |---|---|---|
//! | empty | look-up, capacity left | building, by that caller |
//! | empty | look-up, no capacity left | empty |
//! | building | look-up | building; the look-up waits for the builder |
//! | building | the builder succeeds | ready; all waiters get the tracer |
//! | building | the builder fails or panics | empty; all waiters get the error |
//! | building | removal | empty; builder and waiters get the tracer, the pool does not keep it |
//! | ready | look-up | ready; clones the handle and records the use, allocates nothing |
//! | ready | eviction, tracer idle | empty; only the pool held the tracer |
//! | ready | eviction, tracer used since or in use | ready |
//! | ready | removal | empty; the tracer lives on in its handles and spans |
//!
//! Each event is one step under the lock of the slot's shard. Building, waiting and dropping a
//! tracer happen outside the lock. So every concurrent execution is some order of these steps, and
//! the tests go through all orders.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::try_result::TryResult;
use foldhash::fast::RandomState;

use crate::registry::error::LookupError;
use crate::util::fork::ForkGuard;

/// Tracers of type `T` by a key. A `T` is a handle: clones are the same tracer.
pub(super) struct Slots<K, T> {
    /// The hasher has random keys. `SipHash` would take a third of a look-up; to make names collide
    /// here, a client must guess the keys without ever seeing a hash.
    slots: DashMap<K, Slot<T>, RandomState>,
    fork: ForkGuard,
}

enum Slot<T> {
    Building(Arc<Build<T>>),
    Ready { tracer: T, used: Used },
}

/// Time of a tracer's last use, by the pool's clock.
pub(super) struct Used(AtomicU64);

/// Outcome of a look-up that may create the tracer.
pub(super) enum Claim<T> {
    Found(T),
    /// Another caller is building it.
    Wait(Arc<Build<T>>),
    /// The caller must build it and then call [`finish`](Slots::finish).
    Make(Arc<Build<T>>),
    /// The slot is empty and there is no capacity for it.
    Full,
}

/// A tracer that one caller is building.
pub(super) struct Build<T>(OnceLock<Result<T, LookupError>>);

impl<K: Eq + Hash + Clone, T: Clone> Slots<K, T> {
    /// Returns the tracer of a key if it is ready. In a forked child, returns `None` if its shard
    /// is locked.
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

    /// Returns the tracer of a key, or assigns a builder. `admit` reserves capacity for an empty
    /// slot; false means there is none.
    pub(super) fn claim(&self, key: &K, now: u64, admit: impl FnOnce() -> bool) -> Claim<T> {
        match self.slots.entry(key.clone()) {
            Entry::Occupied(slot) => match slot.get() {
                Slot::Ready { tracer, used } => {
                    used.note(now);
                    Claim::Found(tracer.clone())
                }
                Slot::Building(build) => Claim::Wait(Arc::clone(build)),
            },
            Entry::Vacant(_) if !admit() => Claim::Full,
            Entry::Vacant(slot) => {
                let build = Arc::new(Build(OnceLock::new()));
                slot.insert(Slot::Building(Arc::clone(&build)));
                Claim::Make(build)
            }
        }
    }

    /// Gives the builder's result to all waiters. Returns whether that emptied the slot, which
    /// frees its capacity.
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
            // Removed in the meantime, or already another caller's build.
            _ => false,
        };
        build.finish(result);
        freed
    }

    /// Removes a tracer that is idle and was not used since `seen`. Checks under the slot's lock,
    /// so no look-up can get a handle in between.
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

    /// Empties a slot, so that the next look-up creates a new tracer. Returns whether it was
    /// occupied.
    pub(super) fn remove(&self, key: &K) -> bool {
        // Dropped here, outside the lock.
        self.slots.remove(key).is_some()
    }

    /// Removes a ready tracer if `is_it` accepts it.
    pub(super) fn remove_if(&self, key: &K, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        let removed = self.slots.remove_if(key, |_, slot| match slot {
            Slot::Ready { tracer, .. } => is_it(tracer),
            Slot::Building(_) => false,
        });
        removed.and_then(|(_, slot)| slot.tracer())
    }

    /// Empties the slots of tracers that are being built: their waiters get them, the pool does not
    /// keep them. Returns how many.
    pub(super) fn remove_building(&self, concerned: impl Fn(&K) -> bool) -> usize {
        let mut removed = 0;
        self.slots.retain(|key, slot| {
            let goes = matches!(slot, Slot::Building(_)) && concerned(key);
            removed += usize::from(goes);
            !goes
        });
        removed
    }

    /// Calls `show` for each ready tracer.
    pub(super) fn for_each(&self, mut show: impl FnMut(&K, &T, &Used)) {
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
            slots: DashMap::default(),
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
    /// Relaxed, here and below: the value only orders uses, and a slightly wrong order is harmless.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes only a different time: threads that look up the same name share the cache line.
    pub(super) fn note(&self, now: u64) {
        if self.get() != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

impl<T: Clone> Build<T> {
    fn finish(&self, result: Result<T, LookupError>) {
        // Each build has one builder, which finishes once.
        drop(self.0.set(result));
    }

    /// Waits for the builder. Threads cannot wait in a cycle: a thread that is building a tracer
    /// never gets here.
    pub(super) fn wait(&self) -> Result<T, LookupError> {
        self.0.wait().clone()
    }
}
