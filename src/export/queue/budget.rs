//! One bound in bytes on what all tracers of a registry hold together, and a fair share of it for each.
//!
//! A tracer may hold as much as stays free. So one that floods takes half at the most, and the other half is there for those who
//! come after it: two that flood take a third each, and so on. Nobody has to know how many there are. What does not fit is the newest span or
//! session event of the one that has too much.
//!
//! Where more than three quarters are taken, the engine sends the queues that wait for the longest before their time: a queue that is sent is room for all. Not at half: that
//! is what one tracer holds whose receiver takes nothing, and it is not to cost the others their batches.
//!
//! Bytes are taken before they are needed, half as many again as a tracer has, so that a span seldom touches what all tracers share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most that is taken before it is needed.
const STEP: usize = 16 << 10;

/// What all tracers together may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    taken: AtomicUsize,
}

/// What one tracer holds of it. Kept under the tracer's lock.
#[derive(Debug, Default)]
pub(crate) struct Share {
    taken: usize,
    queued: usize,
    in_flight: usize,
    /// Session events, from when they are accepted until they are settled.
    events: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes `more` for somebody who has `has`, if as much as he has then stays free.
    fn take(&self, has: usize, more: usize) -> bool {
        let may = |taken: usize| (has + 2 * more <= self.max.saturating_sub(taken)).then_some(taken + more);
        // Relaxed: only the number itself matters.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, may)
            .is_ok()
    }

    /// Whether more than three quarters are taken: then the engine sends some queues before their time.
    pub(crate) fn is_pressed(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.max / 4 * 3
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// Takes a span into the queue; false where there is no room for it.
    pub(crate) fn enqueue(&mut self, bytes: usize, of: &Budget) -> bool {
        let fits = self.reserve(bytes, of);
        if fits {
            self.queued += bytes;
        }
        fits
    }

    /// Takes a session event; false where there is no room for it.
    pub(crate) fn accept_event(&mut self, bytes: usize, of: &Budget) -> bool {
        let fits = self.reserve(bytes, of);
        if fits {
            self.events += bytes;
        }
        fits
    }

    fn reserve(&mut self, bytes: usize, of: &Budget) -> bool {
        let wanted = self.held() + bytes;
        if let Some(least) = wanted.checked_sub(self.taken).filter(|least| *least > 0) {
            let ahead = least.max((self.held() / 2).min(STEP));
            let more = [ahead, least].into_iter().find(|more| of.take(self.taken, *more));
            let Some(more) = more else { return false };
            self.taken += more;
        }
        true
    }

    /// Something leaves the queue for a request; it is held until that is settled.
    pub(crate) fn send(&mut self, bytes: usize) {
        self.queued -= bytes;
        self.in_flight += bytes;
    }

    /// Batches are settled which took so many bytes when they left the queue.
    pub(crate) fn complete(&mut self, bytes: usize, of: &Budget) {
        self.in_flight -= bytes;
        self.keep_held(of);
    }

    /// Session events are settled, which took so many bytes when they were accepted. In any order: each session has a line of its own.
    pub(crate) fn complete_events(&mut self, bytes: usize, of: &Budget) {
        self.events -= bytes;
        self.keep_held(of);
    }

    /// Everything is given up.
    pub(crate) fn close(&mut self, of: &Budget) {
        (self.queued, self.in_flight, self.events) = (0, 0, 0);
        self.keep_held(of);
    }

    /// What is in the queue and under way, spans and session events.
    pub(crate) fn held(&self) -> usize {
        self.queued + self.in_flight + self.events
    }

    /// Gives back what was taken ahead, and what is not held any more.
    fn keep_held(&mut self, of: &Budget) {
        let held = self.held();
        of.give_back(self.taken - held);
        self.taken = held;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fills a share with spans of one size until there is no room.
    fn flood(share: &mut Share, of: &Budget) -> usize {
        (0..10_000).take_while(|_| share.enqueue(500, of)).count() * 500
    }

    #[test]
    fn one_that_floods_leaves_half_and_the_next_ones_get_their_part_of_it() {
        let budget = Budget::new(1 << 20);
        let mut floods: Vec<Share> = (0..3).map(|_| Share::default()).collect();
        let taken: Vec<usize> = floods.iter_mut().map(|share| flood(share, &budget)).collect();
        assert!((500_000..=1 << 19).contains(&taken[0]), "{taken:?}");
        assert!((240_000..=1 << 18).contains(&taken[1]), "{taken:?}");
        assert!(Share::default().enqueue(500, &budget), "and a small one still fits");
        for share in &mut floods {
            share.close(&budget);
        }
        assert!(flood(&mut Share::default(), &budget) > 500_000);
    }

    #[test]
    fn one_that_floods_does_not_cost_the_others_their_batches() {
        let budget = Budget::new(1 << 20);
        let (mut stuck, mut calm) = (Share::default(), Share::default());
        flood(&mut stuck, &budget);
        assert!((0..400).all(|_| calm.enqueue(500, &budget)) && !budget.is_pressed());
        flood(&mut calm, &budget);
        flood(&mut Share::default(), &budget);
        assert!(budget.is_pressed());
    }

    #[test]
    fn a_share_that_is_idle_holds_nothing() {
        let budget = Budget::new(1 << 20);
        let mut share = Share::default();
        for _ in 0..100 {
            assert!(share.enqueue(700, &budget));
        }
        share.send(70_000);
        assert!(budget.taken.load(Ordering::Relaxed) >= 70_000);
        share.complete(70_000, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn spans_that_are_settled_do_not_free_the_session_events_that_are_not() {
        let budget = Budget::new(1 << 20);
        let mut share = Share::default();
        assert!(share.enqueue(700, &budget) && share.accept_event(300, &budget) && share.accept_event(20, &budget));
        share.send(700);
        share.complete(700, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (320, 320));
        share.complete_events(300, &budget);
        assert_eq!((share.held(), budget.taken.load(Ordering::Relaxed)), (20, 20));
    }

    proptest! {
        #[test]
        fn all_shares_together_never_have_more_than_the_budget(
            steps in prop::collection::vec((0..4_usize, 0..10_u8, 1..5000_usize), 1..300),
        ) {
            let budget = Budget::new(100_000);
            let mut shares: Vec<Share> = (0..4).map(|_| Share::default()).collect();
            // Of each: what the spans and each session event take that are not settled.
            let mut queued = [0; 4];
            let mut sent = [0; 4];
            let mut events: [Vec<usize>; 4] = Default::default();
            for (who, what, bytes) in steps {
                let share = &mut shares[who];
                match what {
                    0..3 => if share.enqueue(bytes, &budget) { queued[who] += bytes },
                    3 => { share.send(queued[who]); sent[who] += std::mem::take(&mut queued[who]) },
                    4 => {
                        let settled = bytes.min(sent[who]);
                        share.complete(settled, &budget);
                        sent[who] -= settled;
                    }
                    5..7 => if share.accept_event(bytes, &budget) { events[who].push(bytes) },
                    7 | 8 => if !events[who].is_empty() {
                        let one = bytes % events[who].len();
                        share.complete_events(events[who].swap_remove(one), &budget);
                    },
                    _ => if bytes < 500 {
                        share.close(&budget);
                        (queued[who], sent[who]) = (0, 0);
                        events[who].clear();
                    },
                }
                prop_assert_eq!(share.held(), queued[who] + sent[who] + events[who].iter().sum::<usize>());
                let taken: usize = shares.iter().map(|share| share.taken).sum();
                prop_assert_eq!(taken, budget.taken.load(Ordering::Relaxed));
                prop_assert!(taken <= 100_000);
                prop_assert!(shares.iter().all(|share| share.held() <= share.taken));
            }
        }
    }
}
