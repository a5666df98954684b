//! Looking through the pool: which tracers have to go.
//!
//! A tracer is idle where nobody has a handle, a session, a scope or an open span of it, no default session is open, and nothing of it is
//! unsent. Only then is it taken out; so an eviction drops no span, and there is nothing left to wait for. Where room is needed and too few are
//! idle, those that nobody uses are sent without waiting for more, and are idle when that is settled: delivered, or dropped and
//! counted after `export.retry.max_elapsed`.
//!
//! Runs on the engine's threads, or where there are none on that of a look-up that finds no room; several may be at it at once. Tracers are
//! dropped here too, outside of all locks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::tracer_pool::{Pool, locked};
use crate::export::Lane;
use crate::faults::{Fault, planted};
use crate::selector::{Selector, SelectorKind};
use crate::tracer::TracerHandle;

impl Pool {
    /// Takes out what is idle for too long and, where room is needed, what was used least recently. `now` is counted from when the pool was
    /// made. Gives how many were taken out.
    pub(crate) fn look_through(&self, now: Duration) -> usize {
        let too_many = self.room.begin_look();
        let count = self.clock.count();
        let over = locked(&self.past).note(now, count).unwrap_or(0);
        let mut unused = self.unused(count, |used| too_many > 0 || used < over);
        unused.sort_unstable_by_key(|(used, _)| *used);
        let (mut freed, mut hurried) = (0, 0);
        for (used, selector) in unused {
            if freed >= too_many && used >= over {
                break;
            }
            let may_hurry = freed + hurried < too_many;
            let mut busy = None;
            let evicted = self.evict(&selector, used, count, |lane| {
                if may_hurry {
                    busy = Some(Arc::clone(lane));
                }
            });
            freed += usize::from(evicted);
            if let Some(lane) = busy {
                lane.send_now();
                hurried += 1;
            }
        }
        self.room.end_look(too_many, freed);
        freed
    }

    /// Tracers without a handle of somebody's, and when each was used. One with handles is in use, and so is used now.
    fn unused(&self, now: u64, wanted: impl Fn(u64) -> bool) -> Vec<(u64, Selector)> {
        let mut unused = Vec::new();
        for (part, slots) in SelectorKind::ALL.into_iter().zip(&self.single) {
            slots.each(|name, tracer, used| {
                if tracer.is_shared() {
                    used.note(now);
                } else if wanted(used.get()) {
                    unused.push((used.get(), Selector::of(part, name.clone())));
                }
            });
        }
        self.combined.each(|selector, tracer, used| {
            if tracer.is_shared() {
                used.note(now);
            } else if wanted(used.get()) {
                unused.push((used.get(), selector.clone()));
            }
        });
        unused
    }

    fn evict(&self, selector: &Selector, used: u64, now: u64, busy: impl FnOnce(&Arc<Lane>)) -> bool {
        let is_idle = |tracer: &mut TracerHandle| {
            let idle = tracer.is_idle();
            if !idle {
                busy(tracer.lane());
            }
            idle
        };
        let evicted = match selector.single() {
            Some((part, name)) => self.single[part as usize].evict(name, used, is_idle, now),
            None => self.combined.evict(selector, used, is_idle, now),
        };
        if evicted.is_none() {
            return false;
        }
        if planted(Fault::EvictedUnsent)
            && let Some(evicted) = &evicted
        {
            evicted.lane().abandon();
        }
        drop(evicted);
        self.room.give_back();
        self.evicted.fetch_add(1, Ordering::Relaxed); // A count that is shown.
        true
    }
}
