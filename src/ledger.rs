//! What became of every span: accepted = delivered + queued + in flight + dropped, by reason.
//!
//! Knows nothing of the rest. A [`Ledger`] is plain numbers; whoever owns one keeps it under the lock that also guards what it counts,
//! so the sum holds at every moment that a snapshot can be taken. The methods are the only moves there are, and each keeps the sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why something that was accepted was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// The tracer's queue was full, or its share of the memory for all tracers was used up, while its receiver worked. The newest is dropped.
    /// Also if others hold the memory, whatever their receivers do.
    #[error("the tracer's queue was full")]
    QueueFull,
    /// The same, while the receiver refused the tracer's key.
    #[error("the tracer's queue was full while the receiver refused the key")]
    QueueFullUnauthorized,
    /// The same, while the receiver could not be reached, did not answer in time, or answered 408 or 5xx.
    #[error("the tracer's queue was full while the receiver was unavailable")]
    QueueFullUnavailable,
    /// The receiver refused the key (401, 403), and its source gave no other within the time for repetitions.
    #[error("the receiver refused the key")]
    Unauthorized,
    /// The receiver refused it for good: any other 4xx, a redirect that is not followed, a success that is no answer of a receiver;
    /// or it failed on it again and again (500 and the like) while it took others.
    /// Of spans that were sent together, those that are taken without the refused one are delivered.
    #[error("the receiver refused it")]
    Refused,
    /// The receiver found it too large (413), also where it was sent alone.
    #[error("the receiver found it too large")]
    TooLarge,
    /// The receiver took the request and rejected some of its spans (OTLP's partial success).
    #[error("the receiver rejected it")]
    Rejected,
    /// The receiver did not take it in the time that repetitions may last. It may have waited all that time for a receiver that fails,
    /// without being sent.
    #[error("not taken within the time for repetitions")]
    RetriesExhausted,
    /// It could not be encoded. Also what a request carried whose encoding or sending panicked, which may still have arrived.
    #[error("it could not be encoded")]
    Encoding,
    /// Not delivered by the end of the shutdown's time. A request that was under way may still have arrived.
    #[error("not delivered before the shutdown's end")]
    Shutdown,
    /// Made after the registry was shut down.
    #[error("made after the shutdown")]
    AfterShutdown,
}

impl DropReason {
    /// All reasons there are.
    pub const ALL: [Self; 11] = [
        Self::QueueFull,
        Self::QueueFullUnauthorized,
        Self::QueueFullUnavailable,
        Self::Unauthorized,
        Self::Refused,
        Self::TooLarge,
        Self::Rejected,
        Self::RetriesExhausted,
        Self::Encoding,
        Self::Shutdown,
        Self::AfterShutdown,
    ];
}

/// The counters of one tracer, for its spans or for its session events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    delivered: u64,
    queued: u64,
    in_flight: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// The counters of a tracer's spans, and those of its session events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledgers {
    pub(crate) spans: Ledger,
    pub(crate) events: Ledger,
}

/// A ledger at one moment: `accepted` is always the sum of all others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerSnapshot {
    /// Everything that the tracer took responsibility for. Spans that sampling left out are not in it.
    pub accepted: u64,
    /// Taken by the receiver.
    pub delivered: u64,
    /// Waiting for its request.
    pub queued: u64,
    /// In a request that is under way or waits for its repetition.
    pub in_flight: u64,
    /// Not delivered, by reason; reasons that never occurred are left out.
    pub dropped: BTreeMap<DropReason, u64>,
}

impl Ledger {
    pub(crate) fn enqueue(&mut self) {
        self.queued += 1;
    }

    /// Something is dropped at the door: accepted and dropped at once.
    pub(crate) fn refuse(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub(crate) fn take(&mut self, count: u64) {
        self.queued -= count;
        self.in_flight += count;
    }

    pub(crate) fn deliver(&mut self, count: u64) {
        self.in_flight -= count;
        self.delivered += count;
    }

    pub(crate) fn drop_in_flight(&mut self, count: u64, reason: DropReason) {
        self.in_flight -= count;
        self.dropped[reason as usize] += count;
    }

    /// Everything that is not settled is given up.
    pub(crate) fn abandon(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += self.queued + self.in_flight;
        (self.queued, self.in_flight) = (0, 0);
    }

    /// What is neither delivered nor dropped yet.
    pub(crate) fn pending(&self) -> u64 {
        self.queued + self.in_flight
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    fn has_dropped(&self) -> bool {
        self.dropped.iter().any(|count| *count > 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.dropped
            .iter_mut()
            .zip(other.dropped)
            .for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What was delivered and dropped since an earlier state of the same ledger, and what is pending now.
    fn since(&self, earlier: &Self) -> Self {
        let mut change = *self;
        change.delivered -= earlier.delivered;
        change
            .dropped
            .iter_mut()
            .zip(earlier.dropped)
            .for_each(|(mine, theirs)| *mine -= theirs);
        change
    }

    pub(crate) fn snapshot(&self) -> LedgerSnapshot {
        let dropped: BTreeMap<DropReason, u64> = DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped[reason as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        LedgerSnapshot {
            accepted: self.delivered + self.pending() + dropped.values().sum::<u64>(),
            delivered: self.delivered,
            queued: self.queued,
            in_flight: self.in_flight,
            dropped,
        }
    }
}

impl Ledgers {
    pub(crate) fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.events.add(&other.events);
    }

    /// As [`Ledger::since`], for both.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            spans: self.spans.since(&earlier.spans),
            events: self.events.since(&earlier.events),
        }
    }

    pub(crate) fn has_dropped(&self) -> bool {
        self.spans.has_dropped() || self.events.has_dropped()
    }
}

impl LedgerSnapshot {
    /// All that was dropped, whatever the reason.
    pub fn lost(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// All that is neither delivered nor dropped yet.
    pub fn pending(&self) -> u64 {
        self.queued + self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    proptest! {
        #[test]
        fn whatever_moves_are_made_what_came_in_is_what_is_there(moves in prop::collection::vec((0..6_u8, 0..5_u64), 0..200)) {
            let (mut ledger, mut accepted) = (Ledger::default(), 0);
            for (kind, count) in moves {
                match kind {
                    0 => { ledger.enqueue(); accepted += 1; }
                    1 => { ledger.refuse(DropReason::QueueFull); accepted += 1; }
                    2 => ledger.take(count.min(ledger.queued)),
                    3 => ledger.deliver(count.min(ledger.in_flight)),
                    4 => ledger.drop_in_flight(count.min(ledger.in_flight), DropReason::Rejected),
                    _ => if count == 0 { ledger.abandon(DropReason::Shutdown) },
                }
                prop_assert_eq!(ledger.snapshot().accepted, accepted);
            }
        }
    }
}
