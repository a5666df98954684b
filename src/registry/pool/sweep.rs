//! Sweeping the pool: which tracers have to go.
//!
//! A tracer is idle if it has no handle, session, scope or open span, no open default session, and nothing unsent. Only then is it removed,
//! so an eviction drops no span, and nothing is left to wait for. If room is needed and too few are idle, those without handles are sent
//! without waiting for more, and are idle when that is settled: delivered, or dropped and counted after `export.retry.max_elapsed`.
//!
//! Runs on the engine's threads, or if there are none on that of a look-up that finds no room; several may run at once. Tracers are
//! dropped here too, outside of all locks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::slots::Used;
use super::tracer_pool::{Pool, in_slots};
use crate::export::Lane;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl Pool {
    /// Evicts what is idle for too long and, if room is needed, what was used least recently. `now` is counted from when the pool was
    /// made. Returns how many were evicted.
    pub(crate) fn sweep(&self, now: Duration) -> usize {
        let too_many = self.capacity.begin_sweep();
        let count = self.clock.advance();
        let over = self.history.lock().note(now, count).unwrap_or(0);
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
        self.capacity.end_sweep(too_many, freed);
        freed
    }

    /// Returns the tracers without a handle of the program's, and when each was used. One with handles is in use, and so is used now.
    fn unused(&self, now: u64, wanted: impl Fn(u64) -> bool) -> Vec<(u64, Selector)> {
        let mut unused = Vec::new();
        let mut note = |tracer: &TracerHandle, used: &Used| {
            if tracer.is_shared() {
                used.note(now);
            } else if wanted(used.get()) {
                unused.push((used.get(), tracer.selector().clone()));
            }
        };
        for slots in &self.single {
            slots.each(|_, tracer, used| note(tracer, used));
        }
        self.combined.each(|_, tracer, used| note(tracer, used));
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
        let evicted = in_slots!(self, selector, |slots, key| slots.evict(key, used, is_idle, now));
        let Some(tracer) = evicted else { return false };
        drop(tracer);
        self.capacity.release(1);
        self.evicted.fetch_add(1, Ordering::Relaxed); // A count that is shown.
        true
    }
}
