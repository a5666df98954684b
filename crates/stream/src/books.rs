//! The books of one partition: what each process published, what of it was settled, and what is
//! missing.
//!
//! A message is **seen** when a sender receives it. It is **settled** when it was delivered,
//! counted as dropped, or parked. The books that are written hold only what is settled: the servers
//! deliver everything else again. It is **finished** when it was delivered or dropped. A finished
//! one may be found again, if it was also parked, or if an earlier owner did not know that it was
//! not the owner any more: it is not sent again. A number that is neither seen nor withdrawn while
//! a later one is, or while the totals of its process have it, is a gap. A gap that stays for
//! [`LOST_AFTER`] is a loss, once the process has said that it is published and not withdrawn: while
//! the servers are away, it cannot.
//!
//! Pure data: the caller gives the time, and reads and writes the JSON.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracer_registry_spool::Kind;
use uuid::Uuid;

use crate::message::Published;

mod finished;
mod numbers;
#[cfg(test)]
mod tests;

pub(crate) use finished::Finished;
use numbers::{Gap, Numbers};

/// How long a number may be missing. Longer than the servers take to deliver a message again.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(12);
/// How long a process that ended is remembered after all its messages were settled.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Most processes. What others publish is sent, but not checked.
const PROCESSES: usize = 4096;
/// Most losses of a process that are remembered, in case the messages arrive late.
const LOSSES: usize = 256;

/// The books of one partition, written as JSON under its number in the bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    /// Grows with each change of the owner.
    pub(crate) epoch: u64,
    /// The process that sends what is in the partition.
    pub(crate) owner: Option<Uuid>,
    /// Spans and session events that were delivered or counted as dropped by the owner's lanes.
    pub(crate) finished: [u64; 2],
    /// Spans and session events that the servers acknowledged and do not have any more.
    pub(crate) buffer_lost: u64,
    /// Spans and session events that arrived twice and were sent once.
    pub(crate) duplicates: u64,
    /// Spans and session events that were too old.
    pub(crate) expired: u64,
    /// Spans and session events that a purge covered.
    #[serde(default)]
    pub(crate) erased: u64,
    /// What processes published that are forgotten.
    #[serde(default)]
    pub(crate) forgotten: u64,
    processes: BTreeMap<Uuid, Process>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Process {
    settled: Numbers,
    #[serde(default, skip_serializing_if = "Finished::is_empty")]
    finished: Finished,
    /// Numbers that were counted as lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<[u64; 2]>,
    #[serde(skip)]
    watch: Option<Watch>,
}

/// What the owner knows of a process, and does not write.
#[derive(Clone, Debug)]
struct Watch {
    seen: Numbers,
    totals: Option<Totals>,
    /// The process has said of all numbers up to this one what became of them.
    answered: u64,
    /// Gaps, with the time when they were first there.
    gaps: Vec<(Gap, Instant)>,
    active: Instant,
    /// Since when the process has ended.
    ended: Option<Instant>,
}

/// What a process says that it has published in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// All numbers up to this one are acknowledged or withdrawn.
    pub(crate) number: u64,
    /// Items of all numbers up to it, withdrawn ones too.
    pub(crate) sum: u64,
    /// Numbers without an acknowledgement and their items, in order, also above `number`. The rows
    /// were kept or refused. Such a message may arrive nevertheless, if only its acknowledgement
    /// was lost.
    #[serde(default)]
    pub(crate) withdrawn: Vec<(u64, u64)>,
    /// When this was written, in milliseconds since 1970.
    #[serde(default)]
    pub(crate) at: u64,
    /// Whether the process has ended: it publishes nothing more.
    #[serde(default)]
    pub(crate) ended: bool,
}

/// What a received message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// To be sent.
    New,
    /// Not to be sent: an earlier copy was or will be, or the process keeps the rows.
    Again,
}

impl Books {
    /// Records that a message was received.
    pub(crate) fn see(&mut self, published: &Published, items: u32, is_redelivered: bool, now: Instant) -> Seen {
        let items = u64::from(items);
        let Published { process, number, sum } = *published;
        if self.processes.len() >= PROCESSES && !self.processes.contains_key(&process) {
            return Seen::New;
        }
        let of_process = self.processes.entry(process).or_default();
        let was_lost = of_process.find_lost(number);
        let watch = of_process.watch(now);
        watch.active = now;
        let is_withdrawn = watch.withdrawn().any(|(withdrawn, _)| withdrawn == number);
        if watch.seen.insert(number, items, sum) {
            if is_withdrawn {
                of_process.settled.insert(number, items, sum);
                self.duplicates += items;
                return Seen::Again;
            }
            return Seen::New;
        }
        if is_withdrawn {
            self.duplicates += items;
            return Seen::Again;
        }
        if let Some(index) = was_lost {
            of_process.unlose(index, number);
            self.buffer_lost = self.buffer_lost.saturating_sub(items);
            return Seen::New;
        }
        if !is_redelivered {
            self.duplicates += items;
        }
        Seen::Again
    }

    /// Records that a message is delivered, dropped or parked, so that it need not arrive again.
    pub(crate) fn settle(&mut self, published: &Published, items: u32) {
        if let Some(of_process) = self.processes.get_mut(&published.process) {
            of_process
                .settled
                .insert(published.number, u64::from(items), published.sum);
        }
    }

    /// Counts what was delivered or dropped: a message, or what was left of it.
    pub(crate) fn finish(&mut self, published: &Published, kind: Kind, items: u32) {
        self.finish_part(kind, items);
        if let Some(of_process) = self.processes.get_mut(&published.process) {
            of_process.finished.insert(published.number);
        }
    }

    /// Counts what was delivered or dropped of a message.
    pub(crate) fn finish_part(&mut self, kind: Kind, items: u32) {
        self.finished[kind as usize] += u64::from(items);
    }

    /// Whether a message is finished. False for messages that were finished long ago.
    pub(crate) fn is_finished(&self, published: &Published) -> bool {
        let of_process = self.processes.get(&published.process);
        of_process.is_some_and(|of_process| of_process.finished.contains(published.number))
    }

    /// Returns what is finished of each process.
    pub(crate) fn all_finished(&self) -> BTreeMap<Uuid, Finished> {
        let processes = self.processes.iter();
        processes.map(|(process, of)| (*process, of.finished.clone())).collect()
    }

    /// Records the totals of a process. `is_received` if all messages that they count were received,
    /// unless they are lost. Otherwise only the withdrawn numbers are used.
    pub(crate) fn note_totals(&mut self, process: Uuid, mut totals: Totals, is_received: bool, now: Instant) {
        let is_empty = totals.number == 0 && totals.withdrawn.is_empty();
        if !self.processes.contains_key(&process) && (is_empty || self.processes.len() >= PROCESSES) {
            return;
        }
        let watch = self.processes.entry(process).or_default().watch(now);
        // It says nothing more about the others.
        watch.answered = if totals.ended { u64::MAX } else { totals.number };
        if !is_received {
            let earlier = watch.totals.as_ref();
            (totals.number, totals.sum, totals.ended) =
                earlier.map_or((0, 0, false), |earlier| (earlier.number, earlier.sum, earlier.ended));
        }
        watch.ended = totals.ended.then(|| watch.ended.unwrap_or(now));
        watch.totals = Some(totals);
    }

    /// Counts gaps that stayed for too long as lost, and closes those that were withdrawn. Returns
    /// whether anything changed.
    pub(crate) fn resolve(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for of_process in self.processes.values_mut() {
            let late = of_process.withdraw_losses();
            self.buffer_lost = self.buffer_lost.saturating_sub(late);
            let (lost, closed) = of_process.resolve(now);
            self.buffer_lost += lost;
            changed |= closed || late > 0;
        }
        changed
    }

    /// Returns the processes that published something.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Uuid> {
        self.processes.keys().copied()
    }

    /// Returns processes that ended long ago, with nothing missing. Their totals must be deleted before
    /// they are [forgotten](Self::forget).
    pub(crate) fn over(&self, now: Instant) -> Vec<Uuid> {
        let is_over = |of_process: &Process| {
            let long_ago = |at: Instant| now.saturating_duration_since(at) >= FORGET_AFTER;
            let watch = of_process.watch.as_ref();
            watch.is_some_and(|watch| long_ago(watch.active) && watch.ended.is_some_and(long_ago))
                && of_process.is_complete()
        };
        let over = self.processes.iter().filter(|(_, of_process)| is_over(of_process));
        over.map(|(process, _)| *process).collect()
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, process: Uuid) {
        let Some(forgotten) = self.processes.remove(&process) else {
            return;
        };
        let withdrawn = forgotten.watch.iter().flat_map(Watch::withdrawn);
        let withdrawn: u64 = withdrawn.map(|(_, items)| items).sum();
        self.forgotten += forgotten.settled.sum().saturating_sub(withdrawn);
    }

    /// Returns the items that each process has published, as far as they are settled. With numbers
    /// that it has withdrawn.
    pub(crate) fn published(&self) -> BTreeMap<Uuid, u64> {
        let processes = self.processes.iter();
        processes.map(|(process, of)| (*process, of.settled.sum())).collect()
    }
}

impl Process {
    fn watch(&mut self, now: Instant) -> &mut Watch {
        let settled = &self.settled;
        self.watch.get_or_insert_with(|| Watch {
            seen: settled.clone(),
            totals: None,
            answered: 0,
            gaps: Vec::new(),
            active: now,
            ended: None,
        })
    }

    /// Returns the items that are lost now, and whether a gap was closed.
    fn resolve(&mut self, now: Instant) -> (u64, bool) {
        self.watch(now);
        let Self {
            settled,
            lost: losses,
            watch: Some(watch),
            ..
        } = self
        else {
            return (0, false);
        };
        let end = watch.totals.as_ref().map(|totals| (totals.number, totals.sum));
        let gaps = watch.seen.gaps(end);
        let earlier = std::mem::take(&mut watch.gaps);
        let since = |gap: &Gap| {
            let earlier = earlier
                .iter()
                .filter(|(earlier, _)| earlier.overlaps(gap.first, gap.last));
            earlier.map(|(_, since)| *since).min().unwrap_or(now)
        };
        let (mut lost, mut closed) = (0, false);
        for gap in gaps {
            let since = since(&gap);
            let withdrawn = watch.withdrawn().filter(|(number, _)| gap.overlaps(*number, *number));
            let (count, items) = withdrawn.fold((0, 0), |(count, sum), (_, items)| (count + 1, sum + items));
            let is_withdrawn = count == gap.last - gap.first + 1;
            let is_open = gap.last > watch.answered || now.saturating_duration_since(since) < LOST_AFTER;
            if !is_withdrawn && is_open {
                watch.gaps.push((gap, since));
                continue;
            }
            closed = true;
            watch.seen.fill(&gap);
            // What of it is settled cannot be: it would have been seen.
            settled.fill(&gap);
            if !is_withdrawn {
                lost += gap.items().saturating_sub(items);
                let numbers = watch.withdrawn().map(|(number, _)| number);
                let numbers = numbers.filter(|number| gap.overlaps(*number, *number));
                losses.extend(without([gap.first, gap.last], numbers));
            }
        }
        let too_many = losses.len().saturating_sub(LOSSES);
        losses.drain(..too_many);
        (lost, closed)
    }

    /// Whether all that the process published is settled.
    fn is_complete(&self) -> bool {
        let totals = self.watch.as_ref().and_then(|watch| watch.totals.as_ref());
        totals.is_some_and(|totals| self.settled.gaps(Some((totals.number, totals.sum))).is_empty())
    }

    fn find_lost(&self, number: u64) -> Option<usize> {
        self.lost
            .iter()
            .position(|[first, last]| (*first..=*last).contains(&number))
    }

    /// Takes back losses that the process has withdrawn meanwhile: it could not say so while the
    /// servers were away. Returns their items.
    fn withdraw_losses(&mut self) -> u64 {
        let Some(watch) = self.watch.as_ref().filter(|_| !self.lost.is_empty()) else {
            return 0;
        };
        let withdrawn: Vec<(u64, u64)> = watch.withdrawn().collect();
        let mut late = 0;
        for (number, items) in withdrawn {
            if let Some(index) = self.find_lost(number) {
                self.unlose(index, number);
                late += items;
            }
        }
        late
    }

    /// A number that was counted as lost arrived.
    fn unlose(&mut self, index: usize, number: u64) {
        let [first, last] = self.lost.swap_remove(index);
        let left = (first < number).then(|| [first, number - 1]);
        let right = (number < last).then(|| [number + 1, last]);
        self.lost.extend(left.into_iter().chain(right));
    }
}

/// Returns the ranges of a range that are left without these numbers of it, which are in order.
fn without([first, last]: [u64; 2], numbers: impl Iterator<Item = u64>) -> Vec<[u64; 2]> {
    let (mut ranges, mut next) = (Vec::new(), first);
    for number in numbers {
        if next < number {
            ranges.push([next, number - 1]);
        }
        next = number + 1;
    }
    if next <= last {
        ranges.push([next, last]);
    }
    ranges
}

impl Watch {
    fn withdrawn(&self) -> impl Iterator<Item = (u64, u64)> {
        self.totals.iter().flat_map(|totals| totals.withdrawn.iter().copied())
    }
}
