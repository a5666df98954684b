//! The pool.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::capacity::Room;
use super::clock::{Clock, Past};
use super::slots::{Asked, Build, Slots};
use crate::config::{ExportMode, IdleTimeout, PoolSettings, WhenFull};
use crate::export::LineBudget;
use crate::registry::error::LookupError;
use crate::registry::status::PoolStatus;
use crate::selector::{Selector, SelectorKind, Slug};
use crate::tracer::TracerHandle;

/// Tracers by selector. Selectors of one part are found by a plain `&str`.
pub(crate) struct Pool {
    pub(super) single: [Slots<Slug, TracerHandle>; SelectorKind::ALL.len()],
    pub(super) combined: Slots<Selector, TracerHandle>,
    pub(super) clock: Clock,
    pub(super) past: Mutex<Past>,
    pub(super) room: Room,
    pub(super) evicted: AtomicU64,
    pub(super) began: Instant,
    pub(super) mode: ExportMode,
}

impl Pool {
    /// `bell` is rung where the pool is to be looked through at once. With a `mode` in which nobody may hear it, look-ups look themselves.
    pub(crate) fn new(settings: &PoolSettings, mode: ExportMode, bell: Arc<Notify>, lines: Arc<LineBudget>) -> Self {
        let timeout = match settings.idle_timeout {
            IdleTimeout::After(timeout) => Some(timeout),
            IdleTimeout::Never => None,
        };
        Self {
            single: Default::default(),
            combined: Slots::default(),
            clock: Clock::default(),
            past: Mutex::new(Past::new(timeout)),
            room: Room::new(settings, bell, lines),
            evicted: AtomicU64::new(0),
            began: Instant::now(),
            mode,
        }
    }

    /// The tracer of a name, if it was made.
    pub(crate) fn find_single(&self, part: SelectorKind, name: &str) -> Option<TracerHandle> {
        self.single[part as usize].find(name, self.clock.now())
    }

    /// The tracer of a selector with several parts, if it was made.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        self.combined.find(selector, self.clock.now())
    }

    /// The tracer of a selector, made by `make` if nobody made it or is at it, and there is room.
    pub(crate) fn get_or_make(
        &self,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        match selector.single() {
            Some((part, name)) => self.get_or_make_in(&self.single[part as usize], name, selector, make),
            None => self.get_or_make_in(&self.combined, selector, selector, make),
        }
    }

    /// Takes a tracer out, so that the next look-up makes a new one. The handles, sessions and spans that there are go on with the old one.
    /// One that is being made goes to those who wait for it, and is not kept. False where there was none.
    pub(crate) fn take_out(&self, selector: &Selector) -> bool {
        let taken = match selector.single() {
            Some((part, name)) => self.single[part as usize].take_out(name),
            None => self.combined.take_out(selector),
        };
        if taken {
            self.room.give_back();
        }
        taken
    }

    /// Takes this tracer out, where it is still the one that look-ups find.
    pub(crate) fn retire(&self, tracer: &TracerHandle) {
        let selector = tracer.selector();
        let is_it = |there: &TracerHandle| there.same_tracer(tracer);
        let taken = match selector.single() {
            Some((part, name)) => self.single[part as usize].take_out_only(name, is_it),
            None => self.combined.take_out_only(selector, is_it),
        };
        if taken.is_some() {
            self.room.give_back();
        }
    }

    /// Takes those out that are being made. They go to those who wait for them, and are not kept.
    pub(crate) fn take_out_unfinished(&self, concerned: impl Fn(&Selector) -> bool) {
        let mut taken = self.combined.take_out_unfinished(&concerned);
        for (part, slots) in SelectorKind::ALL.into_iter().zip(&self.single) {
            taken += slots.take_out_unfinished(|name| concerned(&Selector::of(part, name.clone())));
        }
        for _ in 0..taken {
            self.room.give_back();
        }
    }

    /// All tracers that are there.
    pub(crate) fn tracers(&self) -> Vec<TracerHandle> {
        let mut tracers = Vec::with_capacity(self.len());
        for slots in &self.single {
            slots.each(|_, tracer, _| tracers.push(tracer.clone()));
        }
        self.combined.each(|_, tracer, _| tracers.push(tracer.clone()));
        tracers
    }

    /// Whether a look-up waits for a look through the pool.
    pub(crate) fn is_asked(&self) -> bool {
        self.room.is_asked()
    }

    /// How often the pool is to be looked through.
    pub(crate) fn period(&self) -> Duration {
        locked(&self.past).period()
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn len(&self) -> usize {
        self.room.tracers()
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.room.status(self.evicted.load(Ordering::Relaxed))
    }

    /// Has the pool looked through; false where nothing was idle. `since` is when the look-up came here first.
    fn find_room(&self, since: Instant) -> bool {
        match self.mode {
            ExportMode::Background => self.room.wait(since),
            // Nobody else looks before the next flush, and that is not to be waited for.
            ExportMode::Inline => self.room.look(since, || self.look_through(self.age())),
        }
    }

    fn get_or_make_in<K: Eq + Hash + Clone>(
        &self,
        slots: &Slots<K, TracerHandle>,
        key: &K,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        let (mut since, mut grown) = (None, false);
        let build = loop {
            let admit = || {
                if self.room.take() {
                    return true;
                }
                grown = self.room.when_full == WhenFull::Grow;
                if grown {
                    self.room.take_above();
                }
                grown
            };
            match slots.ask(key, self.clock.now(), admit) {
                Asked::Found(tracer) => return Ok(tracer),
                Asked::Wait(theirs) => return theirs.wait(),
                Asked::Make(mine) => break mine,
                Asked::NoRoom if self.find_room(*since.get_or_insert_with(Instant::now)) => {}
                Asked::NoRoom => {
                    self.room.note_rejected(selector);
                    return Err(LookupError::PoolFull {
                        selector: selector.clone(),
                        max_tracers: self.room.max(),
                    });
                }
            }
        };
        let mut finish = Finish {
            pool: self,
            slots,
            key,
            build,
            result: Err(LookupError::Panicked(selector.clone())),
        };
        if grown {
            self.room.note_above();
        } else {
            self.room.note_admitted();
        }
        finish.result = make();
        finish.result.clone()
    }
}

/// Puts the result into the slot and wakes those who wait, also where making it panicked.
struct Finish<'a, K: Eq + Hash + Clone> {
    pool: &'a Pool,
    slots: &'a Slots<K, TracerHandle>,
    key: &'a K,
    build: Arc<Build<TracerHandle>>,
    result: Result<TracerHandle, LookupError>,
}

impl<K: Eq + Hash + Clone> Drop for Finish<'_, K> {
    fn drop(&mut self) {
        let now = self.pool.clock.count();
        if self.slots.finish(self.key, &self.build, self.result.clone(), now) {
            self.pool.room.give_back();
        }
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
