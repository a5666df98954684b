//! Tracers by selector: made once however many ask at once, outside any lock.
//!
//! | slot | event | slot |
//! |---|---|---|
//! | empty | somebody asks | building, by that caller |
//! | building | others ask | building; they wait for the builder |
//! | building | the builder has a tracer | ready; all who wait get it |
//! | building | the builder has a tracer of a binding that changed meanwhile | empty; all who wait get it, and look again |
//! | building | the builder fails, or panics | empty; all who wait get that error |
//! | ready | somebody asks | ready; the handle is cloned, nothing is allocated |
//! | ready | the tracer is retired | empty; handles that were given stay valid |

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::LookupError;
use crate::selector::{Name, Part, Selector};
use crate::tracer::TracerHandle;

/// Tracers by selector. Selectors of one part are found by a plain `&str`.
#[derive(Default)]
pub(super) struct Pool {
    single: [DashMap<Name, Slot>; Part::ALL.len()],
    combined: DashMap<Selector, Slot>,
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
        ready(&self.single[part as usize], name)
    }

    /// The tracer of a selector with several parts, if it was made.
    pub(super) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        ready(&self.combined, selector)
    }

    /// The tracer of a selector, made by `make` if nobody made it or is at it.
    pub(super) fn get_or_make(
        &self,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
        is_current: impl Fn() -> bool,
    ) -> Result<TracerHandle, LookupError> {
        match selector.single() {
            Some((part, name)) => get_or_make(&self.single[part as usize], name, selector, make, &is_current),
            None => get_or_make(&self.combined, selector, selector, make, &is_current),
        }
    }

    /// Takes a tracer out, if it is still there: the next look-up makes another one.
    pub(super) fn retire(&self, selector: &Selector, tracer: &TracerHandle) {
        let is_it = |slot: &Slot| matches!(slot, Slot::Ready(ready) if ready.same_tracer(tracer));
        // The handle that was in there is dropped after the lock is released: it may be the last.
        let taken = match selector.single() {
            Some((part, name)) => self.single[part as usize]
                .remove_if(name, |_, slot| is_it(slot))
                .map(|(_, slot)| slot),
            None => self
                .combined
                .remove_if(selector, |_, slot| is_it(slot))
                .map(|(_, slot)| slot),
        };
        drop(taken);
    }

    /// All tracers that are there.
    pub(super) fn tracers(&self) -> Vec<TracerHandle> {
        let single = self.single.iter().flat_map(all_ready);
        single.chain(all_ready(&self.combined)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.single.iter().map(DashMap::len).sum::<usize>() + self.combined.len()
    }
}

fn all_ready<K: Eq + Hash>(slots: &DashMap<K, Slot>) -> Vec<TracerHandle> {
    let ready = slots.iter().filter_map(|entry| match entry.value() {
        Slot::Ready(tracer) => Some(tracer.clone()),
        Slot::Building(_) => None,
    });
    ready.collect()
}

fn ready<K, Q>(slots: &DashMap<K, Slot>, key: &Q) -> Option<TracerHandle>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    match slots.get(key)?.value() {
        Slot::Ready(tracer) => Some(tracer.clone()),
        Slot::Building(_) => None,
    }
}

fn get_or_make<K>(
    slots: &DashMap<K, Slot>,
    key: &K,
    selector: &Selector,
    make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    is_current: &dyn Fn() -> bool,
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
                is_current,
                result: Err(LookupError::Panicked(selector.clone())),
            };
            finish.result = make();
            finish.result.clone()
        }
        Err(theirs) => theirs.wait(),
    }
}

/// Puts the result into the slot and wakes those who wait, also where making it panicked.
struct Finish<'a, K: Eq + Hash + Clone> {
    slots: &'a DashMap<K, Slot>,
    key: &'a K,
    build: &'a Build,
    is_current: &'a dyn Fn() -> bool,
    result: Result<TracerHandle, LookupError>,
}

impl<K: Eq + Hash + Clone> Drop for Finish<'_, K> {
    fn drop(&mut self) {
        match &self.result {
            Ok(tracer) => {
                // Asked under the lock of the slot: whoever changes bindings looks at the slots afterwards, and finds it if it is put there.
                if let Entry::Occupied(mut slot) = self.slots.entry(self.key.clone()) {
                    if (self.is_current)() {
                        slot.insert(Slot::Ready(tracer.clone()));
                    } else {
                        slot.remove();
                    }
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
