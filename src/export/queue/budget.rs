//! The memory budget of a registry: one limit in bytes for all tracers, shared fairly.
//!
//! A tracer may reserve `more` bytes if `held + more <= free - more`, where `held` is what it has
//! reserved and `free` what no tracer has reserved. So it never holds more than stays free:
//!
//! - One tracer that fills its queue gets half of the budget. Two that do so at the same time get a
//!   third each, three a quarter each. Other tracers do not reduce these shares unless they hold
//!   data.
//! - If the first one has its half before the second begins, the second gets a quarter.
//!
//! A span or session event that does not fit is dropped. A request of encoded spans that does not
//! fit is refused: a tracer that holds nothing takes one of at most half of what is free.
//!
//! Above three quarters of the budget, the engine sends the oldest queues early, which frees memory
//! for all tracers. The threshold is above one half, because a single tracer with a dead receiver
//! holds half; other tracers should then still fill their batches.
//!
//! A tracer reserves half as much again as it holds, up to [`STEP`] bytes more, so that most spans
//! do not touch the shared counter.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum bytes that a tracer reserves ahead.
const STEP: usize = 16 << 10;

/// Under memory pressure, tracers that hold more than the budget divided by this move their data to
/// disk.
#[cfg(feature = "spool")]
const PRESSED_DIVISOR: usize = 64;

/// Memory limit for the queued and in-flight data of all tracers.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    taken: AtomicUsize,
}

/// Memory that one tracer holds of the budget. Guarded by the lock of its lane.
#[derive(Debug, Default)]
pub(crate) struct MemoryShare {
    /// Reserved bytes: at least the sum of the other fields.
    taken: usize,
    queued: usize,
    in_flight: usize,
    /// Session events that were accepted and are not completed.
    events: usize,
    /// Requests that have room and are not queued yet.
    admitted: usize,
    /// Granted to spans that will be queued without the lock.
    granted: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            taken: AtomicUsize::new(0),
        }
    }

    /// Returns the most bytes that one tracer may ever reserve.
    #[cfg(feature = "encoded")]
    pub(crate) fn largest_share(&self) -> usize {
        self.max / 2
    }

    /// Returns the bytes that a row from disk counts, or `None` if it has to wait. `is_alone`: its
    /// tracer has nothing else to send.
    ///
    /// A row larger than any share was saved while the limit was larger, and would never fit. So it
    /// is sent alone, and counts as half of a share: at most three of them are in memory at a time.
    #[cfg(feature = "spool")]
    pub(crate) fn bytes_of_row(&self, bytes: usize, is_alone: bool) -> Option<usize> {
        let share = self.largest_share();
        if bytes <= share {
            return Some(bytes);
        }
        is_alone.then_some(share / 2)
    }

    /// Reserves `more` bytes for a tracer that has reserved `held`, if afterwards no less is free
    /// than it has reserved: `held + more <= free - more`.
    fn reserve(&self, held: usize, more: usize) -> bool {
        let may = |taken: usize| (held + 2 * more <= self.max.saturating_sub(taken)).then_some(taken + more);
        // Relaxed: the counter orders no other data.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, may)
            .is_ok()
    }

    /// Returns whether more than three quarters are reserved. The engine then sends some queues
    /// early.
    pub(crate) fn is_under_pressure(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.max / 4 * 3
    }

    fn release(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl MemoryShare {
    /// Adds a queued span. Returns false if it does not fit.
    pub(crate) fn enqueue(&mut self, bytes: usize, budget: &Budget) -> bool {
        let fits = self.reserve(bytes, budget);
        if fits {
            self.queued += bytes;
        }
        fits
    }

    /// Adds a session event. Returns false if it does not fit.
    pub(crate) fn accept_event(&mut self, bytes: usize, budget: &Budget) -> bool {
        let fits = self.reserve(bytes, budget);
        if fits {
            self.events += bytes;
        }
        fits
    }

    /// Makes room for a request. Returns false if it does not fit.
    #[cfg(feature = "encoded")]
    pub(crate) fn admit(&mut self, bytes: usize, budget: &Budget) -> bool {
        let fits = self.reserve(bytes, budget);
        if fits {
            self.admitted += bytes;
        }
        fits
    }

    /// Moves the bytes of a request from admitted to queued.
    #[cfg(feature = "encoded")]
    pub(crate) fn enqueue_admitted(&mut self, bytes: usize) {
        self.admitted -= bytes;
        self.queued += bytes;
    }

    /// Releases the room of a request that is not queued.
    #[cfg(feature = "encoded")]
    pub(crate) fn release_admitted(&mut self, bytes: usize, budget: &Budget) {
        self.admitted -= bytes;
        self.release_excess(budget);
    }

    /// Grants bytes to spans that will be queued without the lock. Returns false if they do not fit.
    pub(crate) fn grant(&mut self, bytes: usize, budget: &Budget) -> bool {
        let fits = self.reserve(bytes, budget);
        if fits {
            self.granted += bytes;
        }
        fits
    }

    /// Ends a grant, of which spans of `queued` bytes were queued.
    pub(crate) fn settle(&mut self, granted: usize, queued: usize) {
        self.granted -= granted;
        self.queued += queued;
    }

    fn reserve(&mut self, bytes: usize, budget: &Budget) -> bool {
        let wanted = self.held() + bytes;
        if let Some(least) = wanted.checked_sub(self.taken).filter(|least| *least > 0) {
            let ahead = least.max((self.held() / 2).min(STEP));
            let more = [ahead, least]
                .into_iter()
                .find(|more| budget.reserve(self.taken, *more));
            let Some(more) = more else { return false };
            self.taken += more;
        }
        true
    }

    /// Moves bytes from queued to in flight. They stay reserved until [`complete`](Self::complete).
    pub(crate) fn send(&mut self, bytes: usize) {
        self.queued -= bytes;
        self.in_flight += bytes;
    }

    /// Frees queued spans of these bytes, which are on disk.
    #[cfg(feature = "spool")]
    pub(crate) fn discard(&mut self, bytes: usize, budget: &Budget) {
        self.queued -= bytes;
        self.release_excess(budget);
    }

    /// Returns whether the tracer holds three quarters of what it may hold.
    #[cfg(feature = "spool")]
    pub(crate) fn is_near_limit(&self, budget: &Budget) -> bool {
        let free = budget.max.saturating_sub(budget.taken.load(Ordering::Relaxed));
        let most = self.taken + free.saturating_sub(self.taken) / 2;
        self.held() > most / 4 * 3
    }

    /// Returns whether memory is under pressure, and the tracer holds a part of it that counts.
    #[cfg(feature = "spool")]
    pub(crate) fn is_pressed(&self, budget: &Budget) -> bool {
        budget.is_under_pressure() && self.held() > budget.max / PRESSED_DIVISOR
    }

    /// Completes batches that had `bytes` when they left the queue.
    pub(crate) fn complete(&mut self, bytes: usize, budget: &Budget) {
        self.in_flight -= bytes;
        self.release_excess(budget);
    }

    /// Returns the bytes of session events.
    #[cfg(feature = "spool")]
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Completes session events that had `bytes` when they were accepted. They may complete in any
    /// order, because each session has its own queue.
    pub(crate) fn complete_events(&mut self, bytes: usize, budget: &Budget) {
        self.events -= bytes;
        self.release_excess(budget);
    }

    /// Releases everything.
    pub(crate) fn close(&mut self, budget: &Budget) {
        (self.queued, self.in_flight, self.events) = (0, 0, 0);
        (self.admitted, self.granted) = (0, 0);
        self.release_excess(budget);
    }

    /// Returns the bytes of all grants, spans and session events, admitted, queued and in flight.
    pub(crate) fn held(&self) -> usize {
        self.queued + self.in_flight + self.events + self.admitted + self.granted
    }

    /// Releases the bytes that are reserved but not held.
    fn release_excess(&mut self, budget: &Budget) {
        let held = self.held();
        budget.release(self.taken - held);
        self.taken = held;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fills a share with spans of one size and returns the accepted bytes.
    fn flood(share: &mut MemoryShare, budget: &Budget) -> usize {
        (0..10_000).take_while(|_| share.enqueue(500, budget)).count() * 500
    }

    #[test]
    fn a_flooding_tracer_gets_half_and_the_next_one_a_quarter() {
        let budget = Budget::new(1 << 20);
        let mut floods: Vec<MemoryShare> = (0..3).map(|_| MemoryShare::default()).collect();
        let taken: Vec<usize> = floods.iter_mut().map(|share| flood(share, &budget)).collect();
        assert!((500_000..=1 << 19).contains(&taken[0]), "{taken:?}");
        assert!((240_000..=1 << 18).contains(&taken[1]), "{taken:?}");
        assert!(
            MemoryShare::default().enqueue(500, &budget),
            "a small tracer still fits"
        );
        for share in &mut floods {
            share.close(&budget);
        }
        assert!(flood(&mut MemoryShare::default(), &budget) > 500_000);
    }

    #[test]
    fn one_flooding_tracer_does_not_cause_memory_pressure() {
        let budget = Budget::new(1 << 20);
        let (mut stuck, mut calm) = (MemoryShare::default(), MemoryShare::default());
        flood(&mut stuck, &budget);
        assert!((0..400).all(|_| calm.enqueue(500, &budget)) && !budget.is_under_pressure());
        flood(&mut calm, &budget);
        flood(&mut MemoryShare::default(), &budget);
        assert!(budget.is_under_pressure());
    }

    #[test]
    fn an_idle_share_reserves_nothing() {
        let budget = Budget::new(1 << 20);
        let mut share = MemoryShare::default();
        for _ in 0..100 {
            assert!(share.enqueue(700, &budget));
        }
        share.send(70_000);
        assert!(budget.taken.load(Ordering::Relaxed) >= 70_000);
        share.complete(70_000, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn completed_spans_do_not_release_pending_session_events() {
        let budget = Budget::new(1 << 20);
        let mut share = MemoryShare::default();
        assert!(share.enqueue(700, &budget) && share.accept_event(300, &budget) && share.accept_event(20, &budget));
        share.send(700);
        share.complete(700, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (320, 320));
        share.complete_events(300, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (20, 20));
    }

    #[cfg(feature = "encoded")]
    #[test]
    fn an_admitted_request_holds_memory_until_it_is_released_or_completed() {
        let budget = Budget::new(1000);
        let mut share = MemoryShare::default();
        assert!(!share.admit(501, &budget) && share.admit(500, &budget));
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (500, 500));
        share.release_admitted(500, &budget);
        assert!(share.admit(budget.largest_share(), &budget));
        assert!(!MemoryShare::default().admit(251, &budget), "half of what is free");
        share.enqueue_admitted(500);
        share.send(500);
        share.complete(500, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (0, 0));
    }

    #[cfg(feature = "spool")]
    #[test]
    fn a_row_larger_than_any_share_is_taken_alone_by_three_tracers_at_most() {
        let budget = Budget::new(1000);
        assert_eq!(
            (budget.bytes_of_row(500, false), budget.bytes_of_row(501, false)),
            (Some(500), None)
        );
        let row = budget.bytes_of_row(70_000, true).expect("it is alone");
        let mut shares: Vec<MemoryShare> = (0..9).map(|_| MemoryShare::default()).collect();
        let taken = shares
            .iter_mut()
            .filter_map(|share| share.enqueue(row, &budget).then_some(()));
        assert_eq!(taken.count(), 3);
        assert!(MemoryShare::default().enqueue(100, &budget), "others have room");
    }

    proptest! {
        #[test]
        fn shares_never_exceed_the_budget(
            steps in prop::collection::vec((0..4_usize, 0..12_u8, 1..5000_usize), 1..300),
        ) {
            let budget = Budget::new(100_000);
            let mut shares: Vec<MemoryShare> = (0..4).map(|_| MemoryShare::default()).collect();
            // Per share: bytes of pending spans and of each pending session event.
            let mut queued = [0; 4];
            let mut sent = [0; 4];
            let mut events: [Vec<usize>; 4] = Default::default();
            let mut granted: [Vec<usize>; 4] = Default::default();
            for (tracer, action, bytes) in steps {
                let share = &mut shares[tracer];
                match action {
                    0..3 => if share.enqueue(bytes, &budget) { queued[tracer] += bytes },
                    3 => { share.send(queued[tracer]); sent[tracer] += std::mem::take(&mut queued[tracer]) },
                    4 => {
                        let settled = bytes.min(sent[tracer]);
                        share.complete(settled, &budget);
                        sent[tracer] -= settled;
                    }
                    5..7 => if share.accept_event(bytes, &budget) { events[tracer].push(bytes) },
                    7 | 8 => if !events[tracer].is_empty() {
                        let one = bytes % events[tracer].len();
                        share.complete_events(events[tracer].swap_remove(one), &budget);
                    },
                    9 => if share.grant(bytes, &budget) { granted[tracer].push(bytes) },
                    10 => if let Some(grant) = granted[tracer].pop() {
                        share.settle(grant, bytes.min(grant));
                        queued[tracer] += bytes.min(grant);
                    },
                    _ => if bytes < 500 {
                        share.close(&budget);
                        (queued[tracer], sent[tracer]) = (0, 0);
                        events[tracer].clear();
                        granted[tracer].clear();
                    },
                }
                let others: usize = events[tracer].iter().chain(&granted[tracer]).sum();
                prop_assert_eq!(share.held(), queued[tracer] + sent[tracer] + others);
                let taken: usize = shares.iter().map(|share| share.taken).sum();
                prop_assert_eq!(taken, budget.taken.load(Ordering::Relaxed));
                prop_assert!(taken <= 100_000);
                prop_assert!(shares.iter().all(|share| share.held() <= share.taken));
            }
        }
    }
}
