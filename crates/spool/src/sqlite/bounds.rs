//! What the file holds, by queue and owner, and what may be added.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::body;
use crate::{AppendError, Kind, QueueDepth, Row};

/// The bytes of the log after which the writer makes a checkpoint.
pub(crate) fn log_bytes(max_bytes: u64) -> u64 {
    (max_bytes / 16).clamp(1 << 20, 16 << 20)
}

/// No queue holds so many rows, items or bytes.
const MOST: i64 = 1 << 44;
/// A larger order number is damage: numbers grow with the clock, and this one is far in the future.
const MOST_ORDER: i64 = i64::MAX / 2;

/// What the rows of a queue hold. As in the table `queues`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) rows: [u64; 2],
    pub(crate) items: [u64; 2],
    pub(crate) bytes: u64,
    /// What the rows take in the file.
    pub(crate) disk: u64,
    pub(crate) next_order: u64,
}

impl Held {
    pub(crate) fn add(&mut self, kind: Kind, items: u32, bytes: u64) {
        self.rows[kind as usize] += 1;
        self.items[kind as usize] += u64::from(items);
        self.bytes += bytes;
        self.disk += body::disk_bytes(bytes);
    }

    pub(crate) fn remove(&mut self, kind: Kind, items: u32, bytes: u64) {
        let take = |from: &mut u64, amount| *from = from.saturating_sub(amount);
        take(&mut self.rows[kind as usize], 1);
        take(&mut self.items[kind as usize], u64::from(items));
        take(&mut self.bytes, bytes);
        take(&mut self.disk, body::disk_bytes(bytes));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == [0, 0]
    }

    pub(crate) fn depth(&self, queue: &Arc<str>) -> QueueDepth {
        let ([span_rows, event_rows], [spans, events]) = (self.rows, self.items);
        QueueDepth {
            queue: queue.clone(),
            spans,
            events,
            span_rows,
            event_rows,
            bytes: self.bytes,
        }
    }

    /// Returns what is left without what was taken.
    pub(crate) fn without(&self, taken: &Self) -> Self {
        let mut rest = *self;
        for kind in 0..2 {
            rest.rows[kind] = rest.rows[kind].saturating_sub(taken.rows[kind]);
            rest.items[kind] = rest.items[kind].saturating_sub(taken.items[kind]);
        }
        rest.bytes = rest.bytes.saturating_sub(taken.bytes);
        rest.disk = rest.disk.saturating_sub(taken.disk);
        rest
    }
}

pub(crate) struct Queue {
    pub(crate) name: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) held: Held,
}

/// The committed counts of all queues.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) queues: HashMap<i64, Queue>,
    ids: HashMap<Arc<str>, i64>,
    owners: HashMap<Arc<str>, u64>,
    /// Of all queues.
    pub(crate) total: Held,
}

impl Counts {
    /// Reads the counts in a file.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut counts = Self::default();
        let mut statement = db.prepare(
            "SELECT id, selector, owner, span_rows, event_rows, spans, events, bytes, disk, next_order FROM queues",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // Larger or negative ones are damage, and their sums could overflow.
            let count = |column| match row.get::<_, i64>(column)? {
                count @ 0..MOST => Ok(count.unsigned_abs()),
                count => Err(rusqlite::Error::IntegralValueOutOfRange(column, count)),
            };
            let held = Held {
                rows: [count(3)?, count(4)?],
                items: [count(5)?, count(6)?],
                bytes: count(7)?,
                disk: count(8)?,
                next_order: match row.get::<_, i64>(9)? {
                    order @ 0..MOST_ORDER => order.unsigned_abs(),
                    order => return Err(rusqlite::Error::IntegralValueOutOfRange(9, order)),
                },
            };
            let (name, owner): (String, String) = (row.get(1)?, row.get(2)?);
            counts.insert(
                row.get(0)?,
                Queue {
                    name: name.into(),
                    owner: owner.into(),
                    held,
                },
            );
        }
        Ok(counts)
    }

    pub(crate) fn id(&self, queue: &str) -> Option<i64> {
        self.ids.get(queue).copied()
    }

    fn insert(&mut self, id: i64, queue: Queue) {
        self.ids.insert(queue.name.clone(), id);
        let held = queue.held;
        self.queues.insert(
            id,
            Queue {
                held: Held::default(),
                ..queue
            },
        );
        self.set(id, held);
    }

    fn set(&mut self, id: i64, to: Held) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let was = std::mem::replace(&mut queue.held, to);
        let total = &mut self.total;
        for kind in 0..2 {
            total.rows[kind] = total.rows[kind] + to.rows[kind] - was.rows[kind];
            total.items[kind] = total.items[kind] + to.items[kind] - was.items[kind];
        }
        total.bytes = total.bytes + to.bytes - was.bytes;
        total.disk = total.disk + to.disk - was.disk;
        let owner = self.owners.entry(queue.owner.clone()).or_default();
        *owner = *owner + to.disk - was.disk;
        if *owner == 0 {
            self.owners.remove(&queue.owner);
        }
    }

    /// Forgets queues that were deleted from the file.
    pub(crate) fn remove(&mut self, ids: &[i64]) {
        for &id in ids {
            self.set(id, Held::default());
            if let Some(queue) = self.queues.remove(&id) {
                self.ids.remove(&queue.name);
            }
        }
    }

    pub(crate) fn empty(&self) -> Vec<i64> {
        self.queues
            .iter()
            .filter(|(_, queue)| queue.held.is_empty())
            .map(|(&id, _)| id)
            .collect()
    }

    /// Accepts the changes of a committed transaction.
    pub(crate) fn apply(&mut self, changes: Changes) {
        for (id, queue) in changes.new {
            self.insert(id, queue);
        }
        for (id, held) in changes.held {
            self.set(id, held);
        }
    }
}

/// The counts that a transaction changes.
#[derive(Default)]
pub(crate) struct Changes {
    held: BTreeMap<i64, Held>,
    new: BTreeMap<i64, Queue>,
    new_ids: HashMap<Arc<str>, i64>,
}

impl Changes {
    /// Returns the number of a row's queue, which is created if it is missing.
    pub(crate) fn queue(&mut self, db: &Connection, counts: &Counts, row: &Row) -> rusqlite::Result<i64> {
        if let Some(id) = counts.id(&row.queue).or_else(|| self.new_ids.get(&row.queue).copied()) {
            return Ok(id);
        }
        db.execute(
            "INSERT INTO queues VALUES(NULL, ?, ?, 0, 0, 0, 0, 0, 0, 0)",
            params![&*row.queue, &*row.owner],
        )?;
        let id = db.last_insert_rowid();
        self.new_ids.insert(row.queue.clone(), id);
        self.new.insert(
            id,
            Queue {
                name: row.queue.clone(),
                owner: row.owner.clone(),
                held: Held::default(),
            },
        );
        Ok(id)
    }

    /// The counts of a queue in this transaction. `None` if there is no such queue.
    pub(crate) fn held(&mut self, counts: &Counts, queue: i64) -> Option<&mut Held> {
        let now = match self.new.get(&queue) {
            Some(new) => new.held,
            None => counts.queues.get(&queue)?.held,
        };
        Some(self.held.entry(queue).or_insert(now))
    }

    /// Counts a row that is added.
    pub(crate) fn add(&mut self, counts: &Counts, queue: i64, row: &Row) {
        if let Some(held) = self.held(counts, queue) {
            held.add(row.kind, row.items, row.body.len() as u64);
            held.next_order = held
                .next_order
                .max(row.order.saturating_add(u64::from(row.items).max(1)));
        }
    }

    /// Writes the counts, before the commit.
    pub(crate) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare(
            "UPDATE queues SET span_rows = ?, event_rows = ?, spans = ?, events = ?, bytes = ?, disk = ?,
                 next_order = ? WHERE id = ?",
        )?;
        for (id, held) in &self.held {
            let count = |count: u64| count.cast_signed();
            let ([span_rows, event_rows], [spans, events]) = (held.rows.map(count), held.items.map(count));
            let (bytes, disk, next_order) = (count(held.bytes), count(held.disk), count(held.next_order));
            statement.execute(params![
                span_rows, event_rows, spans, events, bytes, disk, next_order, id
            ])?;
        }
        Ok(())
    }
}

/// The bounds of one transaction: what it may add to the file.
pub(crate) struct Bounds<'a> {
    counts: &'a Counts,
    owner_max: u64,
    free: u64,
    added: HashMap<Arc<str>, u64>,
}

impl<'a> Bounds<'a> {
    /// `live` are the bytes of pages in use. The log and the spare file are part of `max_bytes`.
    pub(crate) fn new(counts: &'a Counts, live: u64, max_bytes: u64, owner_max: Option<u64>) -> Self {
        let free = limit(max_bytes).saturating_sub(live);
        Self {
            counts,
            owner_max: owner_max.unwrap_or(u64::MAX),
            free,
            added: HashMap::new(),
        }
    }

    /// Adds rows, unless they exceed a bound.
    ///
    /// An owner that holds `h` may add `m` if `h + m <= free - m`: a single owner gets half, and
    /// leaves room for others. If not even an owner that holds nothing may, the store is full.
    pub(crate) fn add(&mut self, rows: &[Row]) -> Result<(), AppendError> {
        let mut adds: HashMap<&Arc<str>, u64> = HashMap::new();
        for row in rows {
            *adds.entry(&row.owner).or_default() += body::disk_bytes(row.body.len() as u64);
        }
        let total: u64 = adds.values().sum();
        if total > self.free / 2 {
            return Err(AppendError::Full);
        }
        for (&owner, &add) in &adds {
            let held = self.counts.owners.get(owner).unwrap_or(&0) + self.added.get(owner).unwrap_or(&0);
            if held + add > (self.free - total).min(self.owner_max) {
                return Err(AppendError::OwnerFull(Arc::clone(owner)));
            }
        }
        for (owner, add) in adds {
            *self.added.entry(owner.clone()).or_default() += add;
        }
        self.free -= total;
        Ok(())
    }
}

/// What rows may take in the database, beside the log and the spare file.
pub(crate) fn limit(max_bytes: u64) -> u64 {
    max_bytes.saturating_sub(3 * log_bytes(max_bytes))
}
