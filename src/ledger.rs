//! Accounts for every span: accepted = delivered + queued + in flight + spooled + streamed + dropped,
//! by reason.
//!
//! Independent of all other modules. A [`Ledger`] holds plain numbers; its owner keeps it under the
//! lock that guards the counted items, so the sum holds in every snapshot. Each method preserves
//! the sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why an accepted span or session event was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// The tracer's queue was full, or its share of the memory for all tracers was used up, while
    /// its receiver worked. Drops the newest item. Also applies if other tracers hold the memory,
    /// whatever the state of their receivers.
    #[error("the tracer's queue was full")]
    QueueFull,
    /// Like `QueueFull`, while the receiver refused the tracer's key.
    #[error("the tracer's queue was full while the receiver refused the key")]
    QueueFullUnauthorized,
    /// Like `QueueFull`, while the receiver was unreachable, timed out, or answered 408 or 5xx.
    #[error("the tracer's queue was full while the receiver was unavailable")]
    QueueFullUnavailable,
    /// The receiver refused the key (401, 403), and the key's source returned no other key within
    /// the retry time.
    #[error("the receiver refused the key")]
    Unauthorized,
    /// The receiver refused it permanently: any other 4xx, a redirect that is not followed, or a
    /// success that is not a receiver's answer. Also if the receiver repeatedly failed on it (500
    /// and the like) while it accepted others. Of spans that were sent together, those accepted
    /// without the refused one are delivered.
    #[error("the receiver refused it")]
    Refused,
    /// The receiver found it too large (413), even when sent alone.
    #[error("the receiver found it too large")]
    TooLarge,
    /// The receiver accepted the request but rejected this span (OTLP's partial success).
    #[error("the receiver rejected it")]
    Rejected,
    /// The receiver did not accept it within the retry time. It may have waited that long for a
    /// failing receiver without being sent.
    #[error("not accepted within the retry time")]
    RetriesExhausted,
    /// It could not be encoded. Also used if encoding or sending its request panicked; it may still
    /// have arrived.
    #[error("it could not be encoded")]
    Encoding,
    /// Not delivered before the shutdown timeout. A request in progress may still have arrived.
    #[error("not delivered before the shutdown timeout")]
    Shutdown,
    /// Created after the registry was shut down.
    #[error("created after the shutdown")]
    AfterShutdown,
    /// The spool, or the tenant's share of it, was full, and so was the tracer's queue. Drops the
    /// newest item.
    #[error("the spool was full")]
    SpoolFull,
    /// It was in the spool for longer than `spool.max_age`.
    #[error("it was in the spool for too long")]
    SpoolExpired,
    /// The spool's file was damaged where it was.
    #[error("the spool was damaged")]
    SpoolDamaged,
    /// The data of the tenant was erased by a purge. A request in progress may still have arrived.
    #[error("the data of the tenant was erased")]
    Purged,
    /// More than `quota` allows the tenant. Drops the newest item.
    #[error("more than the tenant's quota")]
    Quota,
    /// A copy for a tracer that could not be created, as its key could not be read for example.
    #[error("its tracer could not be created")]
    NoTracer,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 17] = [
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
        Self::SpoolFull,
        Self::SpoolExpired,
        Self::SpoolDamaged,
        Self::Purged,
        Self::Quota,
        Self::NoTracer,
    ];
}

/// Counters of one tracer, for its spans or its session events.
///
/// What one tracer left on disk may be loaded by a later tracer of its selector. So the number on
/// disk is known for a selector: the sum over its tracers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    delivered: u64,
    queued: u64,
    in_flight: u64,
    /// Left on disk alone.
    handed: u64,
    /// Taken from what was on disk alone.
    loaded: u64,
    /// Left to the replicas that share the store.
    streamed: u64,
    /// Found on disk at the start.
    recovered: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// Counters of a tracer's spans and of its session events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledgers {
    pub(crate) spans: Ledger,
    pub(crate) events: Ledger,
}

/// A snapshot of a ledger. `accepted` always equals the sum of `delivered`, `queued`, `in_flight`,
/// `spooled`, `streamed` and all that was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerSnapshot {
    /// Everything that the tracer accepted, and what was found on disk at the start or taken from the
    /// stream. Excludes spans that were not sampled.
    pub accepted: u64,
    /// Accepted by the receiver.
    pub delivered: u64,
    /// Waiting for a request.
    pub queued: u64,
    /// In a request that is in progress or waits for a retry.
    pub in_flight: u64,
    /// On disk, and not in memory. What is in both counts as queued or in flight.
    #[serde(default)]
    pub spooled: u64,
    /// In the stream that replicas share: another one, or this one later, takes it from there.
    #[serde(default)]
    pub streamed: u64,
    /// Found on disk when the registry was created, or taken from the stream. A part of `accepted`.
    #[serde(default)]
    pub recovered: u64,
    /// Not delivered, by reason. Contains only reasons that occurred.
    pub dropped: BTreeMap<DropReason, u64>,
}

impl Ledger {
    pub(crate) fn enqueue(&mut self, count: u64) {
        self.queued += count;
    }

    /// Like [`refuse`](Self::refuse), for several.
    pub(crate) fn refuse_all(&mut self, count: u64, reason: DropReason) {
        self.dropped[reason as usize] += count;
    }

    /// Counts something refused at entry: accepted and dropped at once.
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

    /// Queued items are on disk alone from now on.
    #[cfg(feature = "spool")]
    pub(crate) fn hand_over(&mut self, count: u64) {
        self.queued -= count;
        self.handed += count;
    }

    /// Items in flight are on disk alone from now on.
    #[cfg(feature = "spool")]
    pub(crate) fn hand_over_in_flight(&mut self, count: u64) {
        self.in_flight -= count;
        self.handed += count;
    }

    /// Accepts items that are on disk, and not in memory.
    #[cfg(feature = "spool")]
    pub(crate) fn accept_spooled(&mut self, count: u64) {
        self.handed += count;
    }

    /// Queued items are in the stream from now on.
    #[cfg(feature = "spool")]
    pub(crate) fn stream(&mut self, count: u64) {
        self.queued -= count;
        self.streamed += count;
    }

    /// Accepts items that are in the stream, and not in memory.
    #[cfg(feature = "spool")]
    pub(crate) fn accept_streamed(&mut self, count: u64) {
        self.streamed += count;
    }

    /// Items that were on disk alone are in the stream from now on.
    #[cfg(feature = "spool")]
    pub(crate) fn stream_from_disk(&mut self, count: u64) {
        self.loaded += count;
        self.streamed += count;
    }

    /// Queues items that were on disk alone.
    #[cfg(feature = "spool")]
    pub(crate) fn load(&mut self, count: u64) {
        self.loaded += count;
        self.queued += count;
    }

    /// Drops items that were on disk alone.
    #[cfg(feature = "spool")]
    pub(crate) fn drop_on_disk(&mut self, count: u64, reason: DropReason) {
        self.loaded += count;
        self.dropped[reason as usize] += count;
    }

    /// Counts items that were found on disk.
    #[cfg(feature = "spool")]
    pub(crate) fn recover(&mut self, count: u64) {
        self.recovered += count;
    }

    /// Drops everything that is pending.
    pub(crate) fn abandon(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += self.queued + self.in_flight;
        (self.queued, self.in_flight) = (0, 0);
    }

    /// Returns the number that waits in memory, without an outcome.
    pub(crate) fn pending(&self) -> u64 {
        self.queued + self.in_flight
    }

    /// Returns the number on disk alone. Zero for a tracer that loaded more than it left there.
    pub(crate) fn spooled(&self) -> u64 {
        (self.recovered + self.handed).saturating_sub(self.loaded)
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Returns the number dropped for a reason.
    pub(crate) fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Returns the total number dropped, for any reason.
    pub(crate) fn lost(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Returns everything accepted, whatever its fate. Excludes what the tracer loaded.
    pub(crate) fn accepted(&self) -> u64 {
        self.delivered + self.pending() + self.lost() + self.recovered + self.handed + self.streamed - self.loaded
    }

    /// Returns everything that this process accepted, whatever its fate.
    #[cfg(feature = "metrics")]
    pub(crate) fn accepted_here(&self) -> u64 {
        self.accepted() - self.recovered
    }

    fn has_dropped(&self) -> bool {
        self.lost() > 0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.handed += other.handed;
        self.loaded += other.loaded;
        self.streamed += other.streamed;
        self.recovered += other.recovered;
        self.dropped
            .iter_mut()
            .zip(other.dropped)
            .for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Returns the counts since an earlier state of this ledger, and the pending ones now.
    fn since(&self, earlier: &Self) -> Self {
        let mut change = *self;
        change.delivered -= earlier.delivered;
        change.handed -= earlier.handed;
        change.loaded -= earlier.loaded;
        change.streamed -= earlier.streamed;
        change.recovered -= earlier.recovered;
        change
            .dropped
            .iter_mut()
            .zip(earlier.dropped)
            .for_each(|(mine, theirs)| *mine -= theirs);
        change
    }

    /// Returns what was dropped, by reason. Contains only reasons that occurred.
    pub(crate) fn dropped(&self) -> BTreeMap<DropReason, u64> {
        let counts = DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped[reason as usize]));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn snapshot(&self) -> LedgerSnapshot {
        LedgerSnapshot {
            accepted: self.accepted(),
            delivered: self.delivered,
            queued: self.queued,
            in_flight: self.in_flight,
            spooled: self.spooled(),
            streamed: self.streamed,
            recovered: self.recovered,
            dropped: self.dropped(),
        }
    }
}

impl Ledgers {
    pub(crate) fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.events.add(&other.events);
    }

    /// Like [`Ledger::since`], for both.
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
    /// Returns the total number dropped, for any reason.
    pub fn lost(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Returns the number that waits in memory, without an outcome. Excludes what is
    /// [on disk alone](Self::spooled).
    pub fn pending(&self) -> u64 {
        self.queued + self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_reason_has_a_separate_counter() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn each_reason_is_documented() {
        // serde's error lists all variants, also one that is missing in `ALL`.
        let error = serde_json::from_str::<DropReason>("\"?\"").expect_err("not a reason");
        let error = error.to_string();
        let names: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(names.len(), DropReason::ALL.len(), "{error}");
        for name in names {
            let row = format!("\n| `{name}` |");
            assert!(
                include_str!("../docs/operations.md").contains(&row),
                "docs/operations.md does not list {name}"
            );
        }
    }

    #[test]
    fn a_snapshot_of_an_earlier_version_has_nothing_on_disk() {
        let text = r#"{"accepted": 3, "delivered": 1, "queued": 2, "in_flight": 0, "dropped": {}}"#;
        let snapshot: LedgerSnapshot = serde_json::from_str(text).expect("a snapshot");
        assert_eq!((snapshot.pending(), snapshot.spooled, snapshot.recovered), (2, 0, 0));
    }

    #[cfg(feature = "spool")]
    #[test]
    fn what_a_later_tracer_loads_counts_once() {
        let (mut disk, mut first, mut second) = (Ledger::default(), Ledger::default(), Ledger::default());
        disk.recover(7);
        first.accept_spooled(2);
        second.load(9);
        second.take(9);
        second.deliver(8);
        second.hand_over_in_flight(1);
        assert_eq!(
            (second.accepted(), second.spooled(), second.since(&second).accepted()),
            (0, 0, 0)
        );
        let mut all = disk;
        all.add(&first);
        all.add(&second);
        let all = all.snapshot();
        assert_eq!((all.accepted, all.delivered, all.spooled, all.recovered), (9, 8, 1, 7));
    }

    proptest! {
        #[cfg(feature = "spool")]
        #[test]
        fn the_sum_holds_after_any_moves_to_disk_and_back(moves in prop::collection::vec((0..9_u8, 0..5_u64), 0..200)) {
            let (mut ledger, mut accepted) = (Ledger::default(), 0);
            for (kind, count) in moves {
                match kind {
                    0 => { ledger.enqueue(count); accepted += count; }
                    1 => { ledger.recover(count); accepted += count; }
                    2 => { ledger.accept_spooled(count); accepted += count; }
                    3 => ledger.take(count.min(ledger.queued)),
                    4 => ledger.hand_over(count.min(ledger.queued)),
                    5 => ledger.hand_over_in_flight(count.min(ledger.in_flight)),
                    6 => ledger.load(count.min(ledger.spooled())),
                    7 => ledger.drop_on_disk(count.min(ledger.spooled()), DropReason::SpoolExpired),
                    _ => ledger.deliver(count.min(ledger.in_flight)),
                }
                let LedgerSnapshot { accepted: counted, delivered, queued, in_flight, spooled, dropped, .. } = ledger.snapshot();
                prop_assert_eq!(counted, accepted);
                prop_assert_eq!(delivered + queued + in_flight + spooled + dropped.values().sum::<u64>(), accepted);
            }
        }

        #[test]
        fn the_sum_holds_after_any_moves(moves in prop::collection::vec((0..6_u8, 0..5_u64), 0..200)) {
            let (mut ledger, mut accepted) = (Ledger::default(), 0);
            for (kind, count) in moves {
                match kind {
                    0 => { ledger.enqueue(count); accepted += count; }
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
