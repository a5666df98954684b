//! Which partitions a sender claims and gives up. Pure data.
//!
//! Each live sender owns at most its share: the number of partitions divided by that of the live
//! senders, rounded up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a sender lives after its last heartbeat, and an owner after its last books.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(6);

/// How long a sender that has just started watches another one before it counts it as dead: all
/// heartbeats are old when the servers were away. Longer than the time between two of them.
const WATCHED: Duration = Duration::from_secs(3);

/// The value of a heartbeat, as JSON under `sender.<process>` in the bucket `replicas`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    /// Grows with each heartbeat.
    pub(crate) beat: u64,
    pub(crate) partitions: BTreeSet<u16>,
}

/// What a sender knows of the others.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    /// With the time of their last heartbeat that was new.
    others: BTreeMap<Uuid, (Heartbeat, Instant)>,
    /// Revisions of books without a live owner, with the time since when they are unchanged.
    silent: BTreeMap<u16, (u64, Instant)>,
}

/// What a sender does next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Partitions that no live sender has. At most as many as the share allows.
    pub(crate) claim: Vec<u16>,
    pub(crate) give_up: Vec<u16>,
}

impl Senders {
    /// Records the heartbeats of the others, with how long before the newest one each was written.
    /// Senders without one are gone.
    pub(crate) fn note(&mut self, heartbeats: BTreeMap<Uuid, (Heartbeat, Duration)>, now: Instant) {
        self.others.retain(|process, _| heartbeats.contains_key(process));
        for (process, (heartbeat, age)) in heartbeats {
            // This process may have just started, and the other one may have died long ago.
            let age = age.min(DEAD_AFTER.saturating_sub(WATCHED));
            let first = || (heartbeat.clone(), now.checked_sub(age).unwrap_or(now));
            let known = self.others.entry(process).or_insert_with(first);
            if known.0 != heartbeat {
                *known = (heartbeat, now);
            }
        }
    }

    /// Begins the lives of the others anew after a time in which the servers did not answer: they
    /// could not write either. Who was dead before that stays dead.
    pub(crate) fn forgive(&mut self, from: Instant, until: Instant) {
        let others = self.others.values_mut().map(|(_, at)| at);
        let silent = self.silent.values_mut().map(|(_, since)| since);
        for at in others.chain(silent) {
            if from.saturating_duration_since(*at) < DEAD_AFTER {
                *at = until;
            }
        }
    }

    pub(crate) fn is_live(&self, process: Uuid, now: Instant) -> bool {
        self.others
            .get(&process)
            .is_some_and(|(_, at)| now.saturating_duration_since(*at) < DEAD_AFTER)
    }

    /// Returns what to claim or give up. `preferred` decides where the search for free partitions
    /// begins, so that senders rarely claim the same.
    pub(crate) fn plan(&self, own: &BTreeSet<u16>, partitions: u16, preferred: u16, now: Instant) -> Plan {
        let live = self.others.iter().filter(|(process, _)| self.is_live(**process, now));
        let (mut count, mut taken) = (1, own.clone());
        for (_, (heartbeat, _)) in live {
            count += 1;
            taken.extend(&heartbeat.partitions);
        }
        let share = usize::from(partitions).div_ceil(count);
        let surplus = own.len().saturating_sub(share);
        let free = (0..partitions).map(|offset| (preferred % partitions.max(1) + offset) % partitions);
        let free = free.filter(|partition| !taken.contains(partition));
        Plan {
            claim: free.take(share.saturating_sub(own.len())).collect(),
            give_up: own.iter().rev().take(surplus).copied().collect(),
        }
    }

    /// Whether a partition that no live sender names is free, by what its books say: their owner and
    /// revision. A live owner that does not name it has it nevertheless while it writes them.
    pub(crate) fn is_free(&mut self, partition: u16, owner: Option<Uuid>, revision: u64, now: Instant) -> bool {
        if owner.is_none_or(|owner| !self.is_live(owner, now)) {
            self.silent.remove(&partition);
            return true;
        }
        let (known, since) = *self.silent.entry(partition).or_insert((revision, now));
        if known != revision {
            self.silent.insert(partition, (revision, now));
            return false;
        }
        now.saturating_duration_since(since) >= DEAD_AFTER
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heartbeat(beat: u64, partitions: &[u16]) -> (Heartbeat, Duration) {
        let heartbeat = Heartbeat {
            beat,
            partitions: partitions.iter().copied().collect(),
        };
        (heartbeat, Duration::ZERO)
    }

    #[test]
    fn a_new_sender_watches_one_that_may_have_died_before_for_three_seconds() {
        let now = Instant::now() + Duration::from_secs(60);
        let of = |age: u16| {
            (
                Uuid::from_u128(age.into()),
                (heartbeat(1, &[age]).0, Duration::from_secs(age.into())),
            )
        };
        let mut senders = Senders::default();
        senders.note(BTreeMap::from([1, 50].map(of)), now);
        let is_live = |age, seconds| senders.is_live(Uuid::from_u128(age), now + Duration::from_secs(seconds));
        assert_eq!([0, 2, 3].map(|seconds| is_live(50, seconds)), [true, true, false]);
        assert_eq!([0, 4, 5].map(|seconds| is_live(1, seconds)), [true, true, false]);
    }

    #[test]
    fn a_sender_dies_six_seconds_after_its_last_heartbeat() {
        let (start, other) = (Instant::now(), Uuid::from_u128(1));
        let mut senders = Senders::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        senders.note(BTreeMap::from([(other, heartbeat(1, &[0, 1]))]), at(0));
        senders.note(BTreeMap::from([(other, heartbeat(2, &[0, 1]))]), at(2));
        senders.note(BTreeMap::from([(other, heartbeat(2, &[0, 1]))]), at(7));
        assert_eq!(senders.plan(&BTreeSet::new(), 4, 0, at(7)).claim, [2, 3]);
        assert_eq!(senders.plan(&BTreeSet::from([2, 3]), 4, 0, at(7)), Plan::default());
        assert_eq!(senders.plan(&BTreeSet::from([2, 3]), 4, 0, at(8)).claim, [0, 1]);
        assert!(senders.is_free(0, Some(other), 9, at(8)));
    }

    #[test]
    fn a_time_without_servers_ends_no_life() {
        let (start, other) = (Instant::now(), Uuid::from_u128(1));
        let mut senders = Senders::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        let last = || BTreeMap::from([(other, heartbeat(1, &[0, 1]))]);
        senders.note(last(), at(0));
        senders.forgive(at(2), at(12));
        senders.note(last(), at(12));
        assert!(senders.is_live(other, at(17)));
        assert!(!senders.is_live(other, at(18)));
        senders.forgive(at(18), at(30));
        assert!(!senders.is_live(other, at(30)));
    }

    #[test]
    fn books_that_a_live_owner_does_not_write_any_more_are_free_after_six_seconds() {
        let (start, other) = (Instant::now(), Uuid::from_u128(1));
        let mut senders = Senders::default();
        let mut is_free = |seconds, revision| {
            let at = start + Duration::from_secs(seconds);
            senders.note(BTreeMap::from([(other, heartbeat(seconds, &[]))]), at);
            senders.is_free(3, Some(other), revision, at)
        };
        assert!(!is_free(0, 5));
        assert!(!is_free(2, 6));
        assert!(!is_free(7, 6));
        assert!(is_free(8, 6));
        assert!(senders.is_free(4, None, 1, start));
    }

    proptest! {
        /// Senders that act on their plans one after the other come to equal shares.
        #[test]
        fn senders_come_to_equal_shares(partitions in 1_u16..40, count in 1_usize..8, first in 0_usize..8) {
            let now = Instant::now();
            let mut owned: Vec<BTreeSet<u16>> = vec![BTreeSet::new(); count];
            owned[first % count] = (0..partitions).collect();
            for round in 0..count * 3 {
                let me = round % count;
                let others = (0..count).filter(|other| *other != me);
                let heartbeats = others.map(|other| {
                    let partitions: Vec<u16> = owned[other].iter().copied().collect();
                    (Uuid::from_u128(other as u128), heartbeat(round as u64, &partitions))
                });
                let mut senders = Senders::default();
                senders.note(heartbeats.collect(), now);
                let plan = senders.plan(&owned[me], partitions, u16::try_from(me * 7).expect("few"), now);
                owned[me].retain(|partition| !plan.give_up.contains(partition));
                owned[me].extend(plan.claim);
            }
            let mut all: Vec<u16> = owned.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..partitions).collect::<Vec<_>>());
            let share = usize::from(partitions).div_ceil(count);
            prop_assert!(owned.iter().all(|own| own.len() <= share), "{:?}", owned);
        }
    }
}
