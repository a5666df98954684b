//! One transaction: rows that are added, deleted and shortened, and the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension as _, Statement, Transaction, TransactionBehavior, params};

use super::bounds::{Bounds, Changes, Counts, Held};
use super::commands::{Append, Completed, Entry, Read, Size};
use super::files::now_ms;
use super::health::Fault;
use super::options::Point;
use super::shared::{guard, report};
use super::usage::Unsaved;
use super::writer::{BACK_OFF, COMMIT_BYTES, DELETE_BYTES, DELETES, Writer};
use super::{body, schema};
use crate::{AppendError, Event, Health, Kind, Lost, Row, RowId};

impl Writer {
    /// Makes one transaction of what waits, and answers.
    pub(super) fn transact(&mut self, db: &Connection) -> Result<(), Fault> {
        self.last_begin = Instant::now();
        let mut batch: Vec<Append> = Vec::new();
        let (mut bytes, mut disk) = (0, 0);
        while let Some(next) = self.appends.front() {
            bytes += next.bytes;
            disk += next.disk_bytes();
            // All of it is in the log too, before the next checkpoint.
            if !batch.is_empty() && (bytes > COMMIT_BYTES || disk > self.log_bytes() / 2) {
                break;
            }
            self.append_bytes -= next.bytes;
            batch.extend(self.appends.pop_front());
        }
        if self.refuse_rows(&mut batch) && self.is_nearly_full() {
            self.set_health(Health::Full, None);
        }
        match self.commit(db, &batch) {
            // One of them breaks a rule; the others do not fail for it.
            Err(Fault::Refused(_)) if batch.iter().filter(|append| append.rows.is_ok()).count() > 1 => {
                let mut failed: Option<Fault> = None;
                for append in batch {
                    let alone = [append];
                    let result = match &failed {
                        None => self.commit(db, &alone),
                        Some(fault) => Err(Fault::Failing(fault.report())),
                    };
                    if let Err(fault) = self.answer(db, alone, result) {
                        failed.get_or_insert(fault);
                    }
                }
                failed.map_or(Ok(()), Err)
            }
            result => self.answer(db, batch, result),
        }
    }

    /// Refuses rows that must not be in the file. Returns whether the store is full.
    fn refuse_rows(&mut self, batch: &mut [Append]) -> bool {
        let mut bounds = Bounds::new(
            &self.counts,
            self.live,
            self.options.max_bytes,
            self.options.owner_max_bytes,
        );
        let mut is_full = false;
        for append in batch {
            let Ok(rows) = &append.rows else { continue };
            let erased = rows.iter().find(|row| self.erased.refuses(row, self.options.covers));
            let refused = if let Some(row) = erased {
                Err(AppendError::Erased(Arc::clone(&row.queue)))
            } else if self.disk_full.is_some() {
                Err(AppendError::Full)
            } else {
                bounds.add(rows)
            };
            if let Err(error) = refused {
                is_full |= matches!(error, AppendError::Full);
                append.rows = Err(error);
            }
        }
        is_full
    }

    /// Answers a batch in order, then takes care of the log or the fault.
    fn answer(
        &mut self,
        db: &Connection,
        batch: impl IntoIterator<Item = Append>,
        result: Result<Vec<Vec<RowId>>, Fault>,
    ) -> Result<(), Fault> {
        let result = result.map_err(|fault| self.sort(fault));
        let (mut ids, fault) = match result {
            Ok(ids) => (ids.into_iter(), None),
            Err(fault) => (Vec::new().into_iter(), Some(fault)),
        };
        // Callers find the state that their answers imply.
        let measured = if fault.is_none() { self.measure(db) } else { Ok(()) };
        match &fault {
            Some(Fault::Full) => self.note_full_disk(),
            Some(fault) if !matches!(fault, Fault::Refused(_)) && fault.aside().is_none() => {
                self.set_health(Health::Failing, Some(&fault.report()));
            }
            _ => {}
        }
        for append in batch {
            let result = match (append.rows, &fault) {
                (Err(refused), _) => Err(refused),
                (Ok(_), None) => Ok(ids.next().unwrap_or_default()),
                (Ok(_), Some(Fault::Full)) => Err(AppendError::Full),
                (Ok(_), Some(fault)) => Err(AppendError::Failing(fault.report())),
            };
            append.answer.give(result);
        }
        match fault {
            None => measured
                .and_then(|()| self.check_log(db))
                .or_else(|fault| self.heal(db, fault)),
            Some(Fault::Refused(_)) => Ok(()),
            Some(fault) => self.heal(db, fault),
        }
    }

    /// Commits the rows of a batch, and what was completed or released with a rest.
    fn commit(&mut self, db: &Connection, batch: &[Append]) -> Result<Vec<Vec<RowId>>, Fault> {
        let nothing_else = self.deletes.is_empty() && self.rests.is_empty() && self.usage.is_empty();
        if nothing_else && batch.iter().all(|append| append.rows.is_err()) {
            return Ok(Vec::new());
        }
        let (mut added, sure) = (Vec::new(), self.unsure.len());
        let result = self.try_commit(db, batch, &mut added);
        if let Err(fault) = &result {
            // The others may have reached the disk.
            if matches!(fault, Fault::Full | Fault::Refused(_)) {
                self.unsure.truncate(sure);
            }
            let _ = self.reader.send(Read::Gone(added));
        }
        result
    }

    fn try_commit(
        &mut self,
        db: &Connection,
        batch: &[Append],
        added: &mut Vec<RowId>,
    ) -> Result<Vec<Vec<RowId>>, Fault> {
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let mut entries = Vec::new();
        let ids = self.insert(&transaction, batch, &mut changes, &mut entries)?;
        let (gone, expired) = self.delete(&transaction, &mut changes)?;
        let shortened = self.shorten(&transaction, &mut changes)?;
        changes.write(&transaction)?;
        self.usage.write(&transaction, |owner| {
            let covers = self.options.covers;
            self.erased
                .iter()
                .any(|line| !line.allowed && covers(&line.what, owner))
        })?;
        // Before the commit, after which a take could find them.
        added.extend(entries.iter().map(|entry| entry.id));
        let sure = self.unsure.len();
        self.unsure.extend(added.iter().map(|row| row.id));
        let _ = self.reader.send(Read::Taken(entries));
        (self.options.at)(Point::BeforeCommit);
        transaction.commit()?;
        (self.options.at)(Point::AfterCommit);

        self.counts.apply(changes);
        self.has_committed = true;
        self.has_empty_queues |= !gone.is_empty();
        self.back_off = BACK_OFF;
        self.deletes.drain(..gone.len());
        self.rests.drain(..shortened.len());
        self.usage = Unsaved::default();
        let is_more = !(self.deletes.is_empty() && self.rests.is_empty());
        self.deletes_at = is_more.then(Instant::now);
        let _ = self.reader.send(Read::Gone(gone));
        if !shortened.is_empty() {
            let _ = self.reader.send(Read::Release(shortened));
        }
        self.publish();
        self.unsure.truncate(sure);
        for (queue, held) in expired {
            report(
                &self.options.notify,
                Event::Lost {
                    why: Lost::Expired,
                    depth: held.depth(&queue),
                },
            );
        }
        Ok(ids)
    }

    fn insert(
        &mut self,
        db: &Connection,
        batch: &[Append],
        changes: &mut Changes,
        entries: &mut Vec<Entry>,
    ) -> Result<Vec<Vec<RowId>>, Fault> {
        let mut insert = Insert::new(db)?;
        let mut all_ids = Vec::new();
        for rows in batch.iter().filter_map(|append| append.rows.as_ref().ok()) {
            let mut ids = Vec::with_capacity(rows.len());
            for row in rows {
                let queue = changes.queue(db, &self.counts, row)?;
                let id = RowId {
                    file: self.file,
                    id: self.next_id,
                };
                self.next_id += 1;
                let created = insert.row(id.id, queue, row)?;
                changes.add(&self.counts, queue, row);
                let bytes = row.body.len() as u64;
                let size = Size {
                    items: row.items,
                    bytes,
                };
                entries.push(Entry {
                    id,
                    queue: row.queue.clone(),
                    kind: row.kind,
                    created,
                    size,
                });
                ids.push(id);
            }
            all_ids.push(ids);
        }
        Ok(all_ids)
    }

    /// Deletes rows that were completed, as many as one transaction should.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn delete(&self, db: &Connection, changes: &mut Changes) -> Result<(Vec<RowId>, HashMap<Arc<str>, Held>), Fault> {
        let mut gone = Vec::new();
        let mut expired: HashMap<Arc<str>, Held> = HashMap::new();
        let mut bytes = 0;
        let mut delete = Delete::new(db)?;
        for &(row, why) in self.deletes.iter().take(DELETES) {
            if bytes > DELETE_BYTES {
                break;
            }
            gone.push(row);
            if row.file != self.file {
                continue;
            }
            if let Some(deleted) = delete.row(row.id, &self.counts, changes)? {
                bytes += deleted.bytes;
                if let (Completed::Expired, Some(queue)) = (why, self.counts.queues.get(&deleted.queue)) {
                    expired
                        .entry(queue.name.clone())
                        .or_default()
                        .add(deleted.kind, deleted.items, deleted.bytes);
                }
            }
        }
        Ok((gone, expired))
    }

    /// Replaces the data of rows that were released with a rest.
    fn shorten(&self, db: &Connection, changes: &mut Changes) -> Result<Vec<(RowId, Option<Size>)>, Fault> {
        let mut done = Vec::new();
        let mut layout = Vec::new();
        let mut written = 0;
        for (row, rest) in &self.rests {
            if written > COMMIT_BYTES {
                break;
            }
            let bytes = rest.body.len() as u64;
            done.push((
                *row,
                Some(Size {
                    items: rest.items,
                    bytes,
                }),
            ));
            if row.file != self.file {
                continue;
            }
            let was = db.query_row(
                "SELECT queue, kind, items, bytes FROM rows WHERE id = ?",
                [row.id],
                Deleted::of,
            );
            let Some(was) = was.optional()? else { continue };
            body::lay_out(&rest.body, &mut layout);
            db.execute(
                "UPDATE rows SET items = ?, bytes = ?, format = ?, body = ? WHERE id = ?",
                params![rest.items, bytes.cast_signed(), rest.format, layout, row.id],
            )?;
            written += was.bytes + bytes;
            if let Some(held) = changes.held(&self.counts, was.queue) {
                held.remove(was.kind, was.items, was.bytes);
                held.add(was.kind, rest.items, bytes);
            }
        }
        Ok(done)
    }

    /// Notes the size of the file after a transaction.
    pub(super) fn measure(&mut self, db: &Connection) -> Result<(), Fault> {
        self.live = schema::sizes(db)?.1;
        self.publish();
        self.update_health();
        Ok(())
    }

    /// Keeps the log short: a part of the work is the reader's, the end of it the writer's, which
    /// alone makes SQLite begin the log again.
    pub(super) fn check_log(&self, db: &Connection) -> Result<(), Fault> {
        let log = schema::checkpoint(db, "NOOP")?;
        let waits = log.log.saturating_sub(log.copied);
        if log.log >= self.log_bytes() && waits > 0 {
            let _alone = guard(&self.shared.checkpoint);
            schema::checkpoint(db, "PASSIVE")?;
        } else if waits >= self.log_bytes() / 4 {
            let asked = std::mem::replace(&mut guard(&self.shared.state).checkpoint_asked, true);
            if !asked {
                let _ = self.reader.send(Read::Checkpoint);
            }
        }
        Ok(())
    }
}

/// The counts of a row that was deleted.
pub(super) struct Deleted {
    pub(super) queue: i64,
    pub(super) kind: Kind,
    pub(super) items: u32,
    pub(super) bytes: u64,
}

impl Deleted {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let kind = if row.get::<_, i64>(1)? == 0 {
            Kind::Spans
        } else {
            Kind::SessionEvents
        };
        Ok(Self {
            queue: row.get(0)?,
            kind,
            items: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    }
}

/// Adds rows, without their counts.
pub(super) struct Insert<'db> {
    statement: Statement<'db>,
    layout: Vec<u8>,
    now: u64,
}

impl<'db> Insert<'db> {
    pub(super) fn new(db: &'db Connection) -> rusqlite::Result<Self> {
        let statement = db.prepare("INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        Ok(Self {
            statement,
            layout: Vec::new(),
            now: now_ms(),
        })
    }

    /// Returns when the row was created: never later than now.
    pub(super) fn row(&mut self, id: i64, queue: i64, row: &Row) -> Result<u64, Fault> {
        let order = i64::try_from(row.order).map_err(|_| Fault::Refused("the order is too large".to_owned()))?;
        let created = row.created.min(self.now);
        body::lay_out(&row.body, &mut self.layout);
        self.statement.execute(params![
            id,
            queue,
            row.kind as i64,
            order,
            row.items,
            (row.body.len() as u64).cast_signed(),
            created.cast_signed(),
            row.generation.cast_signed(),
            row.format,
            self.layout,
        ])?;
        Ok(created)
    }
}

/// Deletes rows and their counts.
pub(super) struct Delete<'db>(Statement<'db>);

impl<'db> Delete<'db> {
    pub(super) fn new(db: &'db Connection) -> rusqlite::Result<Self> {
        db.prepare("DELETE FROM rows WHERE id = ? RETURNING queue, kind, items, bytes")
            .map(Self)
    }

    /// Returns `None` if there is no such row.
    pub(super) fn row(
        &mut self,
        row: i64,
        counts: &Counts,
        changes: &mut Changes,
    ) -> rusqlite::Result<Option<Deleted>> {
        let deleted = self.0.query_row([row], Deleted::of).optional()?;
        if let Some(deleted) = &deleted
            && let Some(held) = changes.held(counts, deleted.queue)
        {
            held.remove(deleted.kind, deleted.items, deleted.bytes);
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::Row;
    use crate::sqlite::commands::Answer;
    use crate::sqlite::options::Options;
    use crate::sqlite::shared::Shared;

    fn append(order: u64) -> Append {
        let row = Row {
            queue: "acme".into(),
            owner: "acme".into(),
            kind: Kind::Spans,
            order,
            items: 3,
            generation: 0,
            created: 0,
            format: 0,
            body: "body".into(),
        };
        Append {
            rows: Ok(vec![row]),
            bytes: 0,
            answer: Answer::new(Box::new(|_| {}), 0, &Arc::new(Shared::new(0))),
        }
    }

    #[test]
    fn rows_of_a_failed_commit_are_deleted_if_they_reached_the_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options::new(folder.path().join("spool"), 32 << 20, |_, _| false, Arc::new(|_| {}));
        let (_sender, commands) = mpsc::channel();
        let (reader, _) = mpsc::channel();
        let mut writer = Writer::new(options, Arc::new(Shared::new(32 << 20)), commands, reader);
        let db = writer.open(None).ok().expect("a new folder");
        writer.commit(&db, &[append(1)]).expect("committed");
        let ids = writer.commit(&db, &[append(2)]).expect("committed").concat();
        // What a failed sync leaves: the rows are in the log, but their caller was refused.
        writer.unsure = ids.iter().map(|row| row.id).collect();
        drop(db);
        let db = writer.open(None).ok().expect("opens again");
        let orders: i64 = db
            .query_row("SELECT sum(ord) FROM rows", [], |row| row.get(0))
            .expect("a sum");
        assert_eq!(
            (orders, writer.counts.total.rows, writer.counts.total.items),
            (1, [1, 0], [3, 0])
        );
        assert_eq!(Counts::load(&db).expect("counts").total, writer.counts.total);
        let ids = writer.commit(&db, &[append(2)]).expect("its place is free").concat();
        assert_eq!(ids[0].id, 3, "no id is used again");
    }
}
