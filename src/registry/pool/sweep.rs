//! Sweeping the pool: choosing the tracers to evict.
//!
//! A tracer is idle if it has no handle, session, scope or open span, no open default session, and
//! no unsent data. Only idle tracers are evicted, so an eviction drops no span and never waits. If
//! capacity is needed and too few tracers are idle, tracers without handles send at once instead of
//! waiting for a full batch. They become idle when their data is delivered, or dropped and counted
//! after `export.retry.max_elapsed`.
//!
//! Runs on the engine's threads, or without them on the thread of a look-up that finds the pool
//! full. Several sweeps may run at once. Evicted tracers are dropped here, outside all locks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::slots::Used;
use super::tracer_pool::{Pool, in_slots};
use crate::export::Lane;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl Pool {
    /// Evicts tracers whose idle timeout expired and, if capacity is needed, the least recently
    /// used ones. `now` counts from the creation of the pool. Returns the number of evicted
    /// tracers.
    pub(crate) fn sweep(&self, now: Duration) -> usize {
        let too_many = self.capacity.begin_sweep();
        let count = self.clock.advance();
        let over = self.history.lock().note(now, count).unwrap_or(0);
        let mut unused = self.unused(count, |used| too_many > 0 || used < over);
        unused.sort_unstable_by_key(|(used, _)| *used);
        let (mut freed, mut sending) = (0, 0);
        for (used, selector) in unused {
            if freed >= too_many && used >= over {
                break;
            }
            let may_send = freed + sending < too_many;
            let mut busy = None;
            let evicted = self.evict(&selector, used, count, |lane| {
                if may_send {
                    busy = Some(Arc::clone(lane));
                }
            });
            freed += usize::from(evicted);
            if let Some(lane) = busy {
                lane.send_now();
                sending += 1;
            }
        }
        self.capacity.end_sweep(too_many, freed);
        freed
    }

    /// Returns the tracers without a handle outside the pool, each with its last use. A tracer with
    /// handles counts as used now.
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
            slots.for_each(|_, tracer, used| note(tracer, used));
        }
        self.combined.for_each(|_, tracer, used| note(tracer, used));
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
        self.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }
}
