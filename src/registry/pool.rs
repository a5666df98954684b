//! Tracers by selector: made once however many ask at once, outside any lock.
//!
//! | slot | event | slot |
//! |---|---|---|
//! | empty | somebody asks | building, by that caller |
//! | building | others ask | building; they wait for the builder |
//! | building | the builder has a tracer | ready; all who wait get it |
//! | building | the builder fails, or panics | empty; all who wait get that error |
//! | ready | somebody asks | ready; the handle is cloned, nothing is allocated |

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::try_result::TryResult;

use super::LookupError;
use crate::home::Home;
use crate::selector::{Name, Part, Selector};
use crate::tracer::TracerHandle;

/// Tracers by selector. Selectors of one part are found by a plain `&str`.
#[derive(Default)]
pub(super) struct Pool {
    single: [DashMap<Name, Slot>; Part::ALL.len()],
    combined: DashMap<Selector, Slot>,
    home: Home,
}

enum Slot {
    Ready(TracerHandle),
    Building(Arc<Build>),
}

/// A tracer that one caller is making.
#[derive(Default)]
struct Build {
    result: Mutex<Option<Result<TracerHandle, LookupError>>>,
    done: Condvar,
}

impl Pool {
    /// The tracer of a name, if it was made.
    pub(super) fn find_single(&self, part: Part, name: &str) -> Option<TracerHandle> {
        ready(&self.single[part as usize], name, self.home)
    }

    /// The tracer of a selector with several parts, if it was made.
    pub(super) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        ready(&self.combined, selector, self.home)
    }

    /// The tracer of a selector, made by `make` if nobody made it or is at it.
    pub(super) fn get_or_make(
        &self,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        match selector.single() {
            Some((part, name)) => get_or_make(&self.single[part as usize], name, selector, make),
            None => get_or_make(&self.combined, selector, selector, make),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.single.iter().map(DashMap::len).sum::<usize>() + self.combined.len()
    }
}

fn ready<K, Q>(slots: &DashMap<K, Slot>, key: &Q, home: Home) -> Option<TracerHandle>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let slot = match slots.try_get(key) {
        TryResult::Present(slot) => slot,
        // In a fork, whatever is locked now may stay so.
        TryResult::Locked if !home.is_left() => slots.get(key)?,
        TryResult::Absent | TryResult::Locked => return None,
    };
    match slot.value() {
        Slot::Ready(tracer) => Some(tracer.clone()),
        Slot::Building(_) => None,
    }
}

fn get_or_make<K>(
    slots: &DashMap<K, Slot>,
    key: &K,
    selector: &Selector,
    make: impl FnOnce() -> Result<TracerHandle, LookupError>,
) -> Result<TracerHandle, LookupError>
where
    K: Eq + Hash + Clone,
{
    // The shard's lock is held for this match only: neither building nor waiting happens under it.
    let build = match slots.entry(key.clone()) {
        Entry::Occupied(slot) => match slot.get() {
            Slot::Ready(tracer) => return Ok(tracer.clone()),
            Slot::Building(build) => Err(Arc::clone(build)),
        },
        Entry::Vacant(slot) => {
            let build = Arc::new(Build::default());
            slot.insert(Slot::Building(Arc::clone(&build)));
            Ok(build)
        }
    };
    match build {
        Ok(mine) => {
            let mut finish = Finish {
                slots,
                key,
                build: &mine,
                result: Err(LookupError::Panicked(selector.clone())),
            };
            finish.result = make();
            finish.result.clone()
        }
        Err(theirs) => theirs.wait(),
    }
}

/// Puts the result into the slot and wakes those who wait, also where making it panicked.
struct Finish<'a, K: Eq + Hash> {
    slots: &'a DashMap<K, Slot>,
    key: &'a K,
    build: &'a Build,
    result: Result<TracerHandle, LookupError>,
}

impl<K: Eq + Hash> Drop for Finish<'_, K> {
    fn drop(&mut self) {
        match &self.result {
            Ok(tracer) => {
                if let Some(mut slot) = self.slots.get_mut(self.key) {
                    *slot = Slot::Ready(tracer.clone());
                }
            }
            // Nothing is left behind: the next look-up begins anew.
            Err(_) => drop(self.slots.remove(self.key)),
        }
        let mut result = self.build.result.lock().unwrap_or_else(PoisonError::into_inner);
        *result = Some(self.result.clone());
        drop(result);
        self.build.done.notify_all();
    }
}

impl Build {
    /// Waits for the builder. A thread that is itself making a tracer never gets here, so nobody waits in a circle.
    fn wait(&self) -> Result<TracerHandle, LookupError> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.as_ref() {
                return result.clone();
            }
            result = self.done.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
