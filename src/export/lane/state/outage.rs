//! An outage of a lane's receiver: when it began, and when each waiting span was due.
//!
//! `export.retry.max_elapsed` of a span counts from when the span was due or the outage began,
//! whichever is later. An outage begins when a request must be retried or meets an open breaker. It
//! ends with any other answer. After an outage of `max_elapsed`, all spans that were due when it
//! began are dropped, in however many batches.
//!
//! | state | event | next |
//! |---|---|---|
//! | healthy | a request must be retried, or meets an open breaker | outage since now; due spans count from now, other queued spans from `scheduled_delay` later |
//! | healthy | anything else | healthy |
//! | outage | a request must be retried, or meets an open breaker | same |
//! | outage | a span is queued | same; it counts from `scheduled_delay` later |
//! | outage | a full batch, a flush, the delay elapses | same; the spans that became due count from now |
//! | outage | a batch expires | same; the batch and all expired spans of the queue are dropped together |
//! | outage | a request is delivered, or refused permanently | healthy |
//!
//! Times are those of the [driver](crate::export::schedule::driver), which stop with it. With
//! `export.mode = "inline"`, only time within flushes counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most marks within the time that matters. Spans due shortly after one another share a mark.
const MARKS: u32 = 64;

/// An outage of the receiver.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) since: Instant,
    /// Marks: spans up to a sequence number, and when the last of them was due. Both increase.
    due: VecDeque<(u64, Instant)>,
    apart: Duration,
}

impl Outage {
    /// Starts an outage now. Spans up to number `due` are due; those up to `pushed` are due after
    /// the delay at the latest.
    pub(crate) fn new(now: Instant, due: u64, pushed: u64, delay: Duration, max_elapsed: Duration) -> Self {
        let mut outage = Self {
            since: now,
            due: VecDeque::from([(due.min(pushed), now)]),
            apart: delay.max(max_elapsed) / MARKS,
        };
        if pushed > due {
            outage.note_queued(pushed, now, delay);
        }
        outage
    }

    /// Records that spans up to number `pushed` are queued.
    pub(crate) fn note_queued(&mut self, pushed: u64, now: Instant, delay: Duration) {
        let at = later(now, delay);
        match self.due.back_mut() {
            Some((number, due)) if *due >= at => *number = pushed,
            _ => self.due.push_back((pushed, later(at, self.apart))),
        }
    }

    /// Records that spans up to this number are due.
    pub(crate) fn note_due(&mut self, number: u64, now: Instant) {
        let sooner = self.due.partition_point(|(_, due)| *due <= now);
        let before = sooner.checked_sub(1).map(|at| self.due[at]);
        if before.is_some_and(|(last, _)| last >= number) {
            return;
        }
        let covers = self.due.partition_point(|(last, _)| *last <= number);
        self.due.drain(sooner..covers);
        let at = before.map_or(now, |(_, due)| later(due, self.apart).max(now));
        // Keep due times increasing: the next mark may be due no later.
        if self.due.get(sooner).is_none_or(|(_, due)| at < *due) {
            self.due.insert(sooner, (number, at));
        }
    }

    /// Returns the time that the span before this number counts from.
    pub(crate) fn counts_from(&self, number: u64) -> Instant {
        let at = self.due.partition_point(|(last, _)| *last < number);
        self.due.get(at).map_or(self.since, |(_, due)| (*due).max(self.since))
    }

    /// Returns the number up to which spans count from `moment` or earlier.
    pub(crate) fn older_than(&self, moment: Instant) -> u64 {
        let old = self.due.partition_point(|(_, due)| (*due).max(self.since) <= moment);
        old.checked_sub(1).map_or(0, |at| self.due[at].0)
    }

    /// Removes spans up to this number, which have left the queue.
    pub(crate) fn forget(&mut self, number: u64) {
        let gone = self.due.partition_point(|(last, _)| *last <= number);
        self.due.drain(..gone);
    }
}

#[cfg(feature = "spool")]
impl Outage {
    /// Removes spans after this number, which have left the queue.
    pub(crate) fn forget_after(&mut self, number: u64) {
        let kept = self.due.partition_point(|(last, _)| *last < number) + 1;
        self.due.truncate(kept);
        if let Some((last, _)) = self.due.back_mut() {
            *last = number.min(*last);
        }
    }
}

/// Returns `moment + by`, or `moment` if the clock cannot represent the sum.
fn later(moment: Instant, by: Duration) -> Instant {
    moment.checked_add(by).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(u64),
        Queue(u64),
        Due(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3_000_u64).prop_map(Step::Pass),
            (1..9_u64).prop_map(Step::Queue),
            (0..9_u64).prop_map(Step::Due),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn each_span_counts_from_when_it_was_due_within_two_marks(
            steps in steps(),
            queued in 0..20_u64,
            undue in 0..5_u64,
            delay in 0..20_u64,
        ) {
            let begun = Instant::now();
            let (delay, max_elapsed) = (Duration::from_secs(delay), Duration::from_secs(64));
            let mut now = begun;
            // Due time of each span, by number.
            let mut model: Vec<Instant> = vec![now; usize::try_from(queued).expect("small")];
            model.extend((0..undue).map(|_| now + delay));
            let mut outage = Outage::new(now, queued, queued + undue, delay, max_elapsed);
            for step in steps {
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Queue(count) => {
                        model.extend((0..count).map(|_| now + delay));
                        outage.note_queued(model.len() as u64, now, delay);
                    }
                    Step::Due(left) => {
                        let number = model.len().saturating_sub(usize::try_from(left).expect("small"));
                        model[..number].iter_mut().for_each(|due| *due = (*due).min(now));
                        outage.note_due(number as u64, now);
                    }
                }
            }
            let slack = 2 * outage.apart;
            for (index, due) in model.iter().enumerate() {
                let counted = outage.counts_from(index as u64 + 1);
                prop_assert!(*due <= counted && counted <= *due + slack, "span {index} counts {:?} late", counted - *due);
                let old = outage.older_than(counted);
                prop_assert!(old > index as u64, "span {index} is not older than its own time");
            }
            prop_assert!(outage.due.iter().is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
            let range = (now + delay).saturating_duration_since(begun).as_secs_f64();
            let most = 2.0 * range / outage.apart.as_secs_f64() + 3.0;
            let marks = u32::try_from(outage.due.len()).expect("few");
            prop_assert!(f64::from(marks) <= most, "{marks} marks");
            let half = model.len() as u64 / 2;
            outage.forget(half);
            for index in half..model.len() as u64 {
                prop_assert!(outage.counts_from(index + 1) >= model[usize::try_from(index).expect("small")]);
            }
        }
    }

    #[test]
    fn spans_due_when_the_outage_began_expire_together() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let mut outage = Outage::new(begun, 2000, 2000, second, 300 * second);
        outage.note_queued(2001, begun + 10 * second, second);
        assert_eq!(outage.older_than(begun), 2000);
        assert_eq!(outage.counts_from(1), begun);
        assert_eq!(outage.counts_from(2000), begun);
        assert!(outage.counts_from(2001) >= begun + 11 * second);
        outage.note_due(2001, begun + 10 * second);
        assert_eq!(outage.counts_from(2001), begun + 10 * second);
    }
}
