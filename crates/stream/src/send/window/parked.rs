//! What moves between memory and the parking stream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracer_registry_spool::{Limit, Row};

use super::moves::{Counted, Delete, Erased, Moved, ParkedAt, ParkedMessage, ReadRows, ToPark, WindowBounds};
use super::{Entry, Key, Place, Queue, Room, Window, take_before};
use crate::send::count::Count;

/// How long a message may wait before its queue is parked.
const WAIT: Duration = Duration::from_secs(1);
/// How long a queue may hold a message of the hot stream, taken or not, before it is parked.
const HOLD: Duration = Duration::from_secs(5);
/// A queue may have this part of the window.
const PART: usize = 16;
/// Most messages of one queue on their way to the parking stream.
const PARKED_AT_ONCE: usize = 64;

impl Window {
    /// A queue has messages in the parking stream that are not counted yet. Nothing of it is offered
    /// before [`count_parked`](Self::count_parked).
    pub(crate) fn expect_parked(&mut self, key: Key) {
        self.queues.entry(key).or_default().parked.is_unknown = true;
    }

    /// The messages of a queue in the parking stream were counted. Returns what may be taken from now
    /// on.
    pub(crate) fn count_parked(&mut self, key: &Key, counted: Counted) -> Option<Count> {
        let queue = self.queues.entry(key.clone()).or_default();
        queue.parked.is_unknown = false;
        queue.parked.next = counted.first;
        queue.parked.is_inherited = counted.count.rows > 0;
        queue.parked.unread = counted.count;
        self.held.sum(&counted.count);
        if queue.must_follow() {
            self.following.insert(key.clone());
        }
        let waiting = self.is_settled.then(|| queue.waiting());
        self.remove_if_empty(key);
        waiting
    }

    /// Takes rows that were read from the parking stream for a take that began at `from`, and older
    /// ones that could not be parked. `None` if an older one was released meanwhile: read again.
    pub(crate) fn read(
        &mut self,
        key: &Key,
        from: u64,
        messages: Vec<ParkedMessage>,
        limit: Limit,
        now: Instant,
    ) -> Option<ReadRows> {
        let queue = self.queues.get_mut(key)?;
        let Queue { entries, parked } = queue;
        parked.is_reading = false;
        if parked.next < from {
            return None;
        }
        let is_inherited = parked.is_inherited;
        let mut room = Room::new(limit);
        let ReadRows { mut rows, mut copies } = ReadRows::default();
        for message in messages {
            let ParkedMessage {
                sequence,
                hot,
                row,
                published,
            } = message;
            let bytes = row.body.len() as u64;
            if !is_inherited && !take_before(entries, hot, &mut room, &mut rows) {
                break;
            }
            match entries.get_mut(&hot) {
                _ if parked.done.contains(&sequence) => {}
                // A rest.
                Some(entry) if entry.place == Place::Parked(sequence) && !entry.is_taken => {
                    if !room.fits(entry.bytes) {
                        break;
                    }
                    entry.is_taken = true;
                    parked.unread.remove(row.kind, entry.row.items, entry.bytes);
                    rows.push((hot, entry.row.clone()));
                }
                // The message was parked twice, long after each other.
                Some(Entry {
                    place: Place::Parked(other),
                    ..
                }) if *other != sequence => {
                    parked.unread.remove(row.kind, row.items, bytes);
                    self.held.remove(row.kind, row.items, bytes);
                    copies.add(row.kind, row.items, bytes);
                    parked.done.insert(sequence);
                }
                // It was parked without an answer, and is in the hot stream too.
                Some(entry) if !is_inherited && entry.waits_unparked() => {
                    if !room.fits(entry.bytes) {
                        break;
                    }
                    entry.is_taken = true;
                    rows.push((hot, entry.row.clone()));
                }
                // It is taken, or counted as parked and about to be parked again.
                Some(_) => {}
                None if self.index.contains_key(&hot) => {}
                None => {
                    if !room.fits(bytes) {
                        break;
                    }
                    parked.unread.remove(row.kind, row.items, bytes);
                    rows.push((hot, row.clone()));
                    let entry = Entry {
                        arrived_items: row.items,
                        total: row.items,
                        bytes,
                        row: Row {
                            body: Bytes::new(),
                            ..row
                        },
                        published,
                        is_taken: true,
                        arrived: now,
                        since: now,
                        place: Place::Parked(sequence),
                        has_rest: false,
                    };
                    entries.insert(hot, entry);
                    self.index.insert(hot, key.clone());
                }
            }
            parked.next = sequence + 1;
        }
        Some(ReadRows { rows, copies })
    }

    /// The parking stream has nothing of a queue. Returns what it should have, and counts that as
    /// gone. `None` if more was parked or released meanwhile: read again.
    pub(crate) fn read_nothing(&mut self, key: &Key) -> Option<Count> {
        let queue = self.queues.get_mut(key)?;
        queue.parked.is_reading = false;
        if queue.parked.has_grown {
            return None;
        }
        let missing = std::mem::take(&mut queue.parked.unread);
        self.held.subtract(&missing);
        // Rests in memory are gone too: their messages are.
        queue.entries.retain(|hot, entry| {
            let is_gone = !entry.is_taken && matches!(entry.place, Place::Parked(_));
            if is_gone {
                self.index.remove(hot);
            }
            !is_gone
        });
        self.remove_if_empty(key);
        Some(missing)
    }

    /// A read failed. The rows stay where they are.
    pub(crate) fn read_failed(&mut self, key: &Key) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.parked.is_reading = false;
        }
    }

    /// Returns the queues that must be parked now.
    ///
    /// A queue is due if a message of it waits or is held for too long. If the window is half full, it
    /// is also due if it has more than its part.
    pub(crate) fn due(&self, bounds: WindowBounds, now: Instant) -> Vec<Key> {
        if !self.is_settled {
            return Vec::new();
        }
        let mut of_queue: HashMap<&Key, (usize, u64, bool, bool)> = HashMap::new();
        for hot in &self.hot {
            let Some((key, entry)) = self
                .index
                .get(hot)
                .and_then(|key| Some((key, self.queues.get(key)?.entries.get(hot)?)))
            else {
                continue;
            };
            let (messages, bytes, waits, is_late) = of_queue.entry(key).or_default();
            *messages += 1;
            *bytes += entry.bytes;
            *waits |= !entry.is_taken;
            let passed = |since, limit| now.saturating_duration_since(since) >= limit;
            *is_late |= passed(entry.arrived, HOLD) || (!entry.is_taken && passed(entry.since, WAIT));
        }
        let is_tight = self.hot.len() > bounds.messages / 2 || self.hot_bytes > bounds.bytes / 2;
        let due = of_queue.into_iter().filter(|(_, (messages, bytes, waits, is_late))| {
            let is_large = *messages > bounds.messages / PART || *bytes > bounds.bytes / PART as u64;
            *is_late || (is_tight && is_large && *waits)
        });
        due.map(|(key, _)| key.clone()).collect()
    }

    /// Returns queues with parked messages that others must follow.
    pub(crate) fn following(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.following).into_iter().collect()
    }

    /// Begins to park a queue: returns its oldest messages of the hot stream, in order. The caller
    /// publishes them and calls [`moved`](Self::moved).
    pub(crate) fn park(&mut self, key: &Key) -> Vec<ToPark> {
        let Some(queue) = self.queues.get_mut(key) else {
            return Vec::new();
        };
        if !self.is_settled || queue.parked.is_unknown || queue.parked.is_publishing {
            return Vec::new();
        }
        let mut parked = queue.entries.values();
        if queue.parked.unread.rows == 0 && !parked.any(|entry| matches!(entry.place, Place::Parked(_))) {
            (queue.parked.newest, queue.parked.is_inherited) = (0, false);
        }
        // Behind newer ones, it would be handed out too late. What may be there already is parked
        // again, and found to be.
        let is_inherited = queue.parked.is_inherited;
        let first = if is_inherited { 0 } else { queue.parked.newest + 1 };
        let hot = queue.entries.range_mut(first..);
        let hot = hot.filter(|(_, entry)| entry.place == Place::Hot);
        let to_park: Vec<ToPark> = hot
            .take(PARKED_AT_ONCE)
            .map(|(hot, entry)| {
                entry.place = Place::Moving(false);
                entry.has_rest = false;
                ToPark {
                    hot: *hot,
                    row: entry.row.clone(),
                    published: entry.published,
                }
            })
            .collect();
        queue.parked.is_publishing = !to_park.is_empty();
        to_park
    }

    /// Messages were published to the parking stream, with their numbers there, or not. Returns those
    /// that were, and those that were completed before.
    pub(crate) fn moved(&mut self, key: &Key, results: Vec<(u64, Option<ParkedAt>)>) -> Vec<Moved> {
        let Some(queue) = self.queues.get_mut(key) else {
            return Vec::new();
        };
        queue.parked.is_publishing = false;
        let (mut moved, mut gone) = (Vec::new(), Vec::new());
        for (hot, at) in results {
            let Queue { entries, parked } = &mut *queue;
            let Some(entry) = entries.get_mut(&hot) else { continue };
            if entry.place == Place::Moving(true) {
                if let Some(ParkedAt { sequence, is_counted }) = at {
                    parked.done.insert(sequence);
                    if is_counted {
                        parked.unread.remove(entry.row.kind, entry.row.items, entry.bytes);
                        self.held.remove(entry.row.kind, entry.row.items, entry.bytes);
                    }
                }
                moved.push(Moved::of(hot, entry, 0, at));
                gone.push(hot);
                continue;
            }
            let Some(ParkedAt { sequence, is_counted }) = at else {
                entry.place = Place::Hot;
                parked.has_failed = true;
                continue;
            };
            self.hot.remove(&hot);
            self.hot_bytes -= entry.bytes;
            let finished = entry.total.saturating_sub(entry.row.items);
            moved.push(Moved::of(hot, entry, finished, at));
            entry.place = Place::Parked(sequence);
            entry.total = entry.row.items;
            parked.newest = parked.newest.max(hot);
            if is_counted {
                parked.unread.remove(entry.row.kind, entry.row.items, entry.bytes);
                self.held.remove(entry.row.kind, entry.row.items, entry.bytes);
            }
            if entry.is_taken {
                if !entry.has_rest {
                    entry.row.body = Bytes::new();
                }
                continue;
            }
            parked.has_grown = true;
            parked.next = if parked.unread.rows == 0 {
                sequence
            } else {
                parked.next.min(sequence)
            };
            parked.unread.add(entry.row.kind, entry.row.items, entry.bytes);
            if !entry.has_rest {
                entries.remove(&hot);
                self.index.remove(&hot);
            }
        }
        if queue.must_follow() {
            self.following.insert(key.clone());
        }
        for hot in gone {
            self.remove(key, hot);
        }
        moved
    }

    /// Forgets all messages of a queue. The caller purges its part of the parking stream.
    pub(crate) fn erase(&mut self, key: &Key) -> Erased {
        let mut erased = Erased::default();
        let Some(queue) = self.queues.get_mut(key) else {
            return erased;
        };
        queue.parked.done.clear();
        erased.count = std::mem::take(&mut queue.parked.unread);
        let (mut gone, mut moving) = (Vec::new(), Count::default());
        for (hot, entry) in &mut queue.entries {
            let is_rest = matches!(entry.place, Place::Parked(_)) && !entry.is_taken;
            let count = Count::of(entry.row.kind, entry.row.items, entry.bytes);
            match entry.place {
                // Held until it is parked, and deleted then.
                Place::Moving(is_done) => {
                    if !is_done {
                        moving.sum(&count);
                    }
                    (entry.place, entry.is_taken) = (Place::Moving(true), false);
                    continue;
                }
                Place::Hot => erased.settled.push((*hot, entry.published, entry.arrived_items)),
                Place::Parked(_) => {}
            }
            // A rest is counted as unread.
            if !is_rest {
                erased.count.sum(&count);
            }
            gone.push(*hot);
        }
        self.held.subtract(&erased.count);
        for hot in gone {
            self.index.remove(&hot);
            let entry = queue.entries.remove(&hot);
            if let Some(entry) = entry.filter(|_| self.hot.remove(&hot)) {
                self.hot_bytes -= entry.bytes;
            }
        }
        erased.count.sum(&moving);
        self.remove_if_empty(key);
        erased
    }

    /// Drops an unread message that is too old or erased, so that it is deleted. Returns false if it
    /// is not unread.
    pub(crate) fn drop_unread(&mut self, key: &Key, sequence: u64, hot: u64, count: &Count) -> bool {
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let parked = &mut queue.parked;
        let is_read = parked.is_unknown || parked.unread.rows == 0 || sequence < parked.next;
        if is_read || self.index.contains_key(&hot) || !parked.done.insert(sequence) {
            return false;
        }
        parked.unread.subtract(count);
        self.held.subtract(count);
        true
    }

    /// Deletes a copy of a message that is finished. `unread` is what it counts among the unread
    /// ones. Returns false if the message is still in work, or its queue is not counted yet.
    pub(crate) fn drop_copy(&mut self, key: &Key, sequence: u64, hot: u64, unread: &Count) -> bool {
        if self.index.contains_key(&hot) {
            return false;
        }
        let parked = &mut self.queues.entry(key.clone()).or_default().parked;
        let is_dropped = !parked.is_unknown && parked.done.insert(sequence);
        if is_dropped {
            parked.unread.subtract(unread);
            self.held.subtract(unread);
        }
        self.remove_if_empty(key);
        is_dropped
    }

    /// Begins to delete what was completed in the parking stream. The caller deletes it and calls
    /// [`deleted`](Self::deleted).
    pub(crate) fn deletes(&mut self) -> Vec<(Key, Vec<Delete>)> {
        let mut deletes = Vec::new();
        for (key, queue) in &mut self.queues {
            let parked = &mut queue.parked;
            if parked.is_deleting || parked.done.is_empty() {
                continue;
            }
            parked.is_deleting = true;
            let in_memory = queue.entries.values().filter_map(|entry| match entry.place {
                Place::Parked(sequence) => Some(sequence),
                _ => None,
            });
            let unread = (parked.unread.rows > 0).then_some(parked.next);
            // It may be there without an answer, and its next publication is answered with that number.
            let is_outside = |entry: &Entry| matches!(entry.place, Place::Hot | Place::Moving(_));
            parked.has_failed &= queue.entries.values().any(is_outside);
            let failed = parked.has_failed.then_some(0);
            let kept = in_memory.chain(unread).chain(failed).min().unwrap_or(u64::MAX);
            let up_to = parked.done.range(..kept).next_back().map(|last| Delete::UpTo(*last));
            let others = parked.done.range(kept..).map(|sequence| Delete::One(*sequence));
            deletes.push((key.clone(), up_to.into_iter().chain(others).collect()));
        }
        deletes
    }

    /// Messages of the parking stream were deleted. The others are deleted later.
    pub(crate) fn deleted(&mut self, key: &Key, deleted: &[Delete]) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.parked.is_deleting = false;
        for delete in deleted {
            match delete {
                Delete::UpTo(last) => queue.parked.done.retain(|sequence| sequence > last),
                Delete::One(sequence) => {
                    queue.parked.done.remove(sequence);
                }
            }
        }
        self.remove_if_empty(key);
    }
}
