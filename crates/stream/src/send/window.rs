//! The messages of one partition that its owner holds, by queue and kind. Pure data, without I/O.
//!
//! | place of a message | state | then |
//! |---|---|---|
//! | hot stream | waiting | taken, or copied to the parking stream |
//! | hot stream | taken | completed: settled and acknowledged; released: waiting |
//! | on its way to the parking stream | waiting or taken | parked, or in the hot stream if that fails |
//! | parking stream, unread | waiting | read by a take |
//! | parking stream, in memory | taken | completed: deleted there; released: unread |
//!
//! A queue has messages in the parking stream that wait, or in the hot stream that wait, never both
//! for long: while some are unread in the parking stream, the others follow, taken ones too. Those in
//! the parking stream are older, so the order holds. If a message could not be parked and newer ones
//! were, it stays in the hot stream, and is handed out before these, unless the owner changes. A
//! message keeps its number in the hot stream wherever it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tracer_registry_spool::{Kind, Limit, QueueDepth, Rest, Row};

use super::count::{self, Count};
use crate::message::{Message, Published};

pub(crate) mod moves;
mod parked;
#[cfg(test)]
mod tests;

/// A queue and a kind, which have an order of their own.
pub(crate) type Key = (Arc<str>, Kind);

/// What the owner of a partition holds.
#[derive(Debug, Default)]
pub(crate) struct Window {
    queues: HashMap<Key, Queue>,
    /// The queue of each message in memory, by its number in the hot stream.
    index: BTreeMap<u64, Key>,
    /// Numbers and bytes of messages that occupy the consumer: in the hot stream, or on their way.
    hot: BTreeSet<u64>,
    hot_bytes: u64,
    /// Queues that have unread messages in the parking stream, and others that must follow.
    following: BTreeSet<Key>,
    /// Whether messages of an earlier owner have arrived. Until then, no queue offers anything.
    is_settled: bool,
    held: Count,
}

#[derive(Debug, Default)]
struct Queue {
    entries: BTreeMap<u64, Entry>,
    parked: Parked,
}

/// What a queue has in the parking stream.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a job in progress or what happened during one"
)]
struct Parked {
    /// Whether it is not yet known what an earlier owner parked.
    is_unknown: bool,
    /// What waits there and is not in memory, or is there as a rest.
    unread: Count,
    /// Unread messages have at least this number in the parking stream.
    next: u64,
    /// The largest number in the hot stream of what this owner parked.
    newest: u64,
    /// Whether an earlier owner parked some, maybe copies of what is in the hot stream.
    is_inherited: bool,
    is_reading: bool,
    /// Whether messages became unread since a read began.
    has_grown: bool,
    is_publishing: bool,
    is_deleting: bool,
    /// Whether a message may be there although its publication was not answered.
    has_failed: bool,
    /// Completed, to be deleted.
    done: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    row: Row,
    published: Published,
    /// Items of the message, which the sums of its process count.
    arrived_items: u32,
    /// Items that are finished when the row is completed.
    total: u32,
    bytes: u64,
    is_taken: bool,
    /// When it arrived, and when it began to wait.
    arrived: Instant,
    since: Instant,
    place: Place,
    /// Whether the row is a rest that the parking stream does not have.
    has_rest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Hot,
    /// On its way to the parking stream. True if it was completed meanwhile.
    Moving(bool),
    /// In the parking stream, with its number there.
    Parked(u64),
}

/// A row to be handed out, with its number in the hot stream.
pub(crate) type Numbered = (u64, Row);

/// What a take finds.
#[derive(Debug)]
pub(crate) enum Take {
    /// Rows in memory, maybe none.
    Rows(Vec<Numbered>),
    /// Read the parking stream from this number on, then call [`Window::read`].
    Read(u64),
}

/// A row that was completed.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) key: Key,
    pub(crate) published: Published,
    pub(crate) items: u32,
    /// What to settle and acknowledge in the hot stream, with the items of the message. None if it is
    /// in the parking stream, or on its way.
    pub(crate) settled: Option<(Published, u32)>,
}

/// A row that was taken when another process became the owner.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) queue: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) items: u32,
    pub(crate) bytes: u64,
}

/// What the window has under a number of the hot stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The message.
    Held,
    /// The message, which is in the parking stream.
    Parked,
    /// Another message: the stream was created again.
    Conflict,
}

impl Window {
    /// What the window has under the number of a message of the hot stream.
    pub(crate) fn find(&self, hot: u64, published: &Published) -> Option<Found> {
        let entry = self.queues.get(self.index.get(&hot)?)?.entries.get(&hot)?;
        Some(match entry.place {
            _ if entry.published != *published => Found::Conflict,
            Place::Parked(_) => Found::Parked,
            Place::Hot | Place::Moving(_) => Found::Held,
        })
    }

    /// Adds a message of the hot stream that [`find`](Self::find) does not know. Returns whether its
    /// queue may be taken.
    pub(crate) fn insert(&mut self, hot: u64, message: Message, now: Instant) -> bool {
        let Message { row, published, .. } = message;
        let key = (Arc::clone(&row.queue), row.kind);
        let bytes = row.body.len() as u64;
        self.hot.insert(hot);
        self.hot_bytes += bytes;
        self.held.add(row.kind, row.items, bytes);
        self.index.insert(hot, key.clone());
        let queue = self.queues.entry(key.clone()).or_default();
        let entry = Entry {
            arrived_items: row.items,
            total: row.items,
            bytes,
            row,
            published,
            is_taken: false,
            arrived: now,
            since: now,
            place: Place::Hot,
            has_rest: false,
        };
        queue.entries.insert(hot, entry);
        let is_ready = self.is_settled && !queue.parked.is_unknown;
        if is_ready && queue.must_follow() {
            self.following.insert(key);
        }
        is_ready
    }

    /// Takes rows of a queue that wait.
    pub(crate) fn take(&mut self, key: &Key, limit: Limit) -> Take {
        let Some(queue) = self.queues.get_mut(key) else {
            return Take::Rows(Vec::new());
        };
        let parked = &mut queue.parked;
        if !self.is_settled || parked.is_unknown || parked.is_reading {
            return Take::Rows(Vec::new());
        }
        if parked.unread.rows > 0 {
            parked.is_reading = true;
            parked.has_grown = false;
            return Take::Read(parked.next);
        }
        let (mut room, mut rows) = (Room::new(limit), Vec::new());
        take_before(&mut queue.entries, u64::MAX, &mut room, &mut rows);
        Take::Rows(rows)
    }

    /// Makes a taken row wait again. Returns false if it is not here.
    pub(crate) fn release(&mut self, hot: u64, rest: Option<Rest>, now: Instant) -> bool {
        let Some(key) = self.index.get(&hot).cloned() else {
            return false;
        };
        let Some(queue) = self.queues.get_mut(&key) else {
            return false;
        };
        let Some(entry) = queue.entries.get_mut(&hot).filter(|entry| entry.is_taken) else {
            return false;
        };
        entry.is_taken = false;
        entry.since = now;
        let kind = entry.row.kind;
        if let Some(rest) = rest {
            self.held.change(
                kind,
                (entry.row.items, entry.bytes),
                (rest.items, rest.body.len() as u64),
            );
            if self.hot.contains(&hot) {
                self.hot_bytes = self.hot_bytes - entry.bytes + rest.body.len() as u64;
            }
            entry.bytes = rest.body.len() as u64;
            (entry.row.items, entry.row.format, entry.row.body) = (rest.items, rest.format, rest.body);
            entry.has_rest = true;
        }
        if let Place::Parked(sequence) = entry.place {
            queue.parked.has_grown = true;
            queue.parked.unread.add(kind, entry.row.items, entry.bytes);
            queue.parked.next = queue.parked.next.min(sequence);
            if !entry.has_rest {
                queue.entries.remove(&hot);
                self.index.remove(&hot);
            }
            if queue.must_follow() {
                self.following.insert(key);
            }
        }
        true
    }

    /// Ends a taken row. Returns `None` if it is not here.
    pub(crate) fn complete(&mut self, hot: u64) -> Option<Completed> {
        let key = self.index.get(&hot)?.clone();
        let queue = self.queues.get_mut(&key)?;
        let entry = queue.entries.get_mut(&hot).filter(|entry| entry.is_taken)?;
        let mut completed = Completed {
            key: key.clone(),
            published: entry.published,
            items: entry.total,
            settled: None,
        };
        match entry.place {
            Place::Moving(_) => {
                entry.place = Place::Moving(true);
                entry.is_taken = false;
                return Some(completed);
            }
            Place::Hot => completed.settled = Some((entry.published, entry.arrived_items)),
            Place::Parked(sequence) => {
                queue.parked.done.insert(sequence);
            }
        }
        self.remove(&key, hot);
        Some(completed)
    }

    /// The messages of an earlier owner have arrived. Returns what may be taken from now on.
    pub(crate) fn settle(&mut self) -> Vec<(Arc<str>, Count)> {
        self.is_settled = true;
        let ready = self.queues.iter().filter(|(_, queue)| !queue.parked.is_unknown);
        for (key, queue) in ready.clone() {
            if queue.must_follow() {
                self.following.insert(key.clone());
            }
        }
        ready
            .map(|((queue, _), of_queue)| (Arc::clone(queue), of_queue.waiting()))
            .collect()
    }

    /// Discards everything: another process owns the partition. Returns what might have been taken,
    /// and what was.
    pub(crate) fn discard(&mut self) -> (Vec<QueueDepth>, Vec<(u64, Orphan)>) {
        let is_settled = self.is_settled;
        let ready = self
            .queues
            .iter()
            .filter(|(_, queue)| is_settled && !queue.parked.is_unknown);
        let moved = count::merge(ready.map(|((queue, _), of_queue)| (Arc::clone(queue), of_queue.waiting())));
        let mut orphans = Vec::new();
        for (key, queue) in std::mem::take(self).queues {
            let taken = queue.entries.into_iter().filter(|(_, entry)| entry.is_taken);
            orphans.extend(taken.map(|(hot, entry)| {
                let (queue, kind) = key.clone();
                let (items, bytes) = (entry.row.items, entry.bytes);
                (
                    hot,
                    Orphan {
                        queue,
                        kind,
                        items,
                        bytes,
                    },
                )
            }));
        }
        (moved, orphans)
    }

    /// What the window holds, taken rows included.
    pub(crate) fn held(&self) -> Count {
        self.held
    }

    /// Selectors with messages in the parking stream, and the items of these messages.
    pub(crate) fn parked(&self) -> [u64; 2] {
        let (mut selectors, mut items) = (HashSet::new(), 0);
        for ((selector, _), queue) in &self.queues {
            // A rest is counted as unread.
            let is_taken = |entry: &&Entry| matches!(entry.place, Place::Parked(_)) && entry.is_taken;
            let taken = queue.entries.values().filter(is_taken);
            let (mut rows, mut of_queue) = (queue.parked.unread.rows, queue.parked.unread.items.iter().sum::<u64>());
            for entry in taken {
                rows += 1;
                of_queue += u64::from(entry.row.items);
            }
            if rows > 0 {
                selectors.insert(selector);
                items += of_queue;
            }
        }
        [selectors.len() as u64, items]
    }

    /// Messages and bytes that occupy the consumer.
    pub(crate) fn hot(&self) -> (usize, u64) {
        (self.hot.len(), self.hot_bytes)
    }

    /// Numbers of the messages that occupy the consumer, in order.
    pub(crate) fn hot_numbers(&self) -> impl Iterator<Item = u64> {
        self.hot.iter().copied()
    }

    /// How many rows are taken.
    pub(crate) fn taken(&self) -> usize {
        let of_queue = |queue: &Queue| queue.entries.values().filter(|entry| entry.is_taken).count();
        self.queues.values().map(of_queue).sum()
    }

    /// All queues of which the window has anything.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.queues.keys().cloned().collect()
    }

    /// Whether the window has anything of a queue.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.queues.contains_key(key)
    }

    fn remove(&mut self, key: &Key, hot: u64) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        self.index.remove(&hot);
        if let Some(entry) = queue.entries.remove(&hot) {
            self.held.remove(entry.row.kind, entry.row.items, entry.bytes);
            if self.hot.remove(&hot) {
                self.hot_bytes -= entry.bytes;
            }
        }
        self.remove_if_empty(key);
    }

    fn remove_if_empty(&mut self, key: &Key) {
        if self.queues.get(key).is_some_and(Queue::is_empty) {
            self.queues.remove(key);
        }
    }
}

impl Entry {
    fn waits_unparked(&self) -> bool {
        !self.is_taken && matches!(self.place, Place::Hot | Place::Moving(false))
    }
}

impl Queue {
    /// Whether messages of the hot stream must be parked, because older ones are.
    fn must_follow(&self) -> bool {
        let parked = &self.parked;
        (parked.unread.rows > 0 || parked.is_publishing) && self.entries.values().any(|entry| entry.place == Place::Hot)
    }

    fn is_empty(&self) -> bool {
        let parked = &self.parked;
        let is_busy = parked.is_unknown || parked.is_reading || parked.is_publishing || parked.is_deleting;
        !is_busy && self.entries.is_empty() && parked.unread.rows == 0 && parked.done.is_empty()
    }

    /// What waits to be taken.
    fn waiting(&self) -> Count {
        let mut count = self.parked.unread;
        let in_memory = self.entries.values();
        for entry in in_memory.filter(|entry| entry.waits_unparked()) {
            count.add(entry.row.kind, entry.row.items, entry.bytes);
        }
        count
    }
}

/// Takes rows that wait in memory and are not parked, with smaller numbers than this one. Returns
/// false if one does not fit.
fn take_before(entries: &mut BTreeMap<u64, Entry>, end: u64, room: &mut Room, rows: &mut Vec<Numbered>) -> bool {
    for (hot, entry) in entries.range_mut(..end) {
        let waits = entry.waits_unparked();
        if waits && !room.fits(entry.bytes) {
            return false;
        }
        if waits {
            entry.is_taken = true;
            rows.push((*hot, entry.row.clone()));
        }
    }
    true
}

/// The rest of the room of one take. The first row always fits.
struct Room {
    limit: Limit,
    is_first: bool,
}

impl Room {
    fn new(limit: Limit) -> Self {
        Self { limit, is_first: true }
    }

    fn fits(&mut self, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let fits = self.limit.rows > 0 && bytes <= self.limit.bytes;
        if !fits && !self.is_first {
            self.limit.rows = 0;
            return false;
        }
        self.is_first = false;
        self.limit.rows = self.limit.rows.saturating_sub(1);
        self.limit.bytes = self.limit.bytes.saturating_sub(bytes);
        true
    }
}
