//! Short queues in front of a lane's queue, one per thread, for a lane whose spans end on several
//! threads at once.
//!
//! A thread that pushes to its stripe does not wait for the lane's lock, and does not move the
//! lane's memory between processors. The lane grants a stripe room for spans and bytes in advance,
//! from what is free in its queue and in its share of the budget. All grants together cover no more
//! spans than are queued, so a lane with few spans holds little memory for spans to come.
//!
//! | event | effect |
//! |---|---|
//! | threads meet at the lane's lock [`MEETINGS`] times before it is idle | the lane has stripes |
//! | a span without a grant ends | the thread's stripe is collected, the span is pushed to the lane's queue, and the stripe gets a grant |
//! | the queue or the budget has no room besides grants | all stripes are collected |
//! | the queue is sent, flushed, read or closed; an outage begins | all stripes are collected |
//!
//! Collecting moves the spans of a stripe to the queue and ends its grant. A lane grants only while
//! its timer or the engine will collect. Locks are taken in the order lane, stripe.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_sdk::trace::SpanData;

use super::state::State;
use super::sync::{ForkLock, Guard, renumber_thread, thread_number};
use crate::export::shared::Shared;

/// Number of stripes. Threads beyond it share one.
pub(crate) const STRIPES: usize = 8;
/// Meetings of threads at the lane's lock that lead to stripes. They count since the lane was idle,
/// so a lane whose threads meet now and then never pays for stripes.
const MEETINGS: u8 = 32;
/// Most spans and bytes that a grant covers. One slot of the chunk is for the span after them.
const MAX_SPANS: usize = 31;
const MAX_BYTES: usize = 16 << 10;
/// Part of the free room that one grant takes at most.
const PART: usize = 4;

#[derive(Default)]
pub(super) struct Stripes {
    /// Set under the lane's lock.
    list: OnceLock<Box<[Stripe; STRIPES]>>,
    /// Recorded spans started before there were stripes.
    started: AtomicU64,
}

/// Aligned to a pair of cache lines, which processors load together.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    queue: ForkLock<StripeQueue>,
    /// Recorded spans started on its threads.
    started: AtomicU64,
}

#[derive(Default)]
pub(super) struct StripeQueue {
    /// Reserve a slot before a push.
    pub(super) spans: Vec<SpanData>,
    bytes: usize,
    granted_spans: usize,
    granted_bytes: usize,
}

impl Stripes {
    /// Returns the index of this thread's stripe.
    #[inline]
    pub(super) fn index_of_thread(&self) -> Option<usize> {
        self.list.get().map(|_| thread_number() % STRIPES)
    }

    #[inline]
    fn of_thread(&self) -> Option<&Stripe> {
        self.list.get().map(|list| &list[thread_number() % STRIPES])
    }

    /// Counts started recorded spans.
    #[inline]
    pub(super) fn note_started(&self, count: u64) {
        let counter = self.of_thread().map_or(&self.started, |stripe| &stripe.started);
        // Relaxed: a reader locks the lane after the span's end, so it sees the start.
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number of started recorded spans.
    pub(super) fn started(&self) -> u64 {
        let of_stripes = self.list.get().into_iter().flat_map(|list| list.iter());
        let counters = of_stripes.map(|stripe| &stripe.started).chain([&self.started]);
        counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Reserves a slot of the thread's stripe for a span of `bytes`, which the caller pushes.
    /// Returns `None` without a grant for it, or while another thread holds the stripe.
    #[inline]
    pub(super) fn reserve_slot(&self, bytes: usize) -> Option<Guard<'_, StripeQueue>> {
        let Some(mut queue) = self.of_thread()?.queue.try_lock() else {
            // Usually another thread with the same stripe.
            renumber_thread();
            return None;
        };
        let has_room = queue.spans.len() < queue.granted_spans && bytes <= queue.granted_bytes - queue.bytes;
        has_room.then(|| {
            queue.bytes += bytes;
            queue
        })
    }

    /// Counts a meeting of threads at the lane's lock. Creates stripes after many.
    pub(super) fn note_meeting(&self, state: &mut State) {
        state.meetings = state.meetings.saturating_add(1);
        if state.meetings == MEETINGS {
            self.create();
        }
    }

    #[cfg(test)]
    pub(super) fn exist(&self) -> bool {
        self.list.get().is_some()
    }

    /// Creates the stripes. Call under the lane's lock.
    pub(super) fn create(&self) {
        self.list.get_or_init(Box::default);
    }

    /// Moves the spans of all stripes to the queue and ends all grants. Returns whether there were
    /// any.
    #[inline]
    pub(super) fn collect(&self, state: &mut State) -> bool {
        let granted = state.granted > 0;
        if granted && let Some(list) = self.list.get() {
            for stripe in list.iter() {
                stripe.collect(state);
            }
        }
        granted
    }

    /// Collects the thread's stripe, or all if the queue has no room besides grants.
    #[inline]
    pub(super) fn make_room(&self, state: &mut State, shared: &Shared) {
        if state.granted > 0 {
            if let Some(stripe) = self.of_thread() {
                stripe.collect(state);
            }
            if state.free_slots(&shared.settings) == 0 {
                self.collect(state);
            }
        }
    }

    /// Grants the thread's stripe room for more spans like one of `bytes`, which was just queued.
    #[inline]
    pub(super) fn grant(&self, state: &mut State, bytes: usize, shared: &Shared) {
        if let Some(stripe) = self.of_thread()
            && state.may_grant()
        {
            stripe.grant(state, bytes, shared);
        }
    }
}

impl Stripe {
    fn collect(&self, state: &mut State) {
        let Some(mut queue) = self.queue.lock_unless_forked() else {
            return;
        };
        let StripeQueue {
            spans,
            bytes,
            granted_spans,
            granted_bytes,
        } = std::mem::take(&mut *queue);
        drop(queue);
        state.granted -= granted_spans;
        state.share.settle(granted_bytes, bytes);
        if !spans.is_empty() {
            state.ledger.enqueue(spans.len() as u64);
            state.spans.push_chunk(spans, bytes);
        }
    }

    fn grant(&self, state: &mut State, bytes: usize, shared: &Shared) {
        let free = state.free_slots(&shared.settings).div_ceil(PART);
        let covered = state.spans.len().saturating_sub(state.granted);
        let spans = free.min(MAX_SPANS).min(MAX_BYTES / bytes).min(covered);
        if spans == 0 || !state.share.grant(spans * bytes, &shared.budget) {
            return;
        }
        let Some(mut queue) = self.queue.lock_unless_forked() else {
            return;
        };
        state.granted += spans;
        queue.granted_spans += spans;
        queue.granted_bytes += spans * bytes;
        if queue.spans.capacity() == 0 {
            queue.spans = shared.chunks.take(spans + 1);
        }
    }
}
