//! Erases the data of a tenant. After a crash, the next start continues with the steps that are
//! left.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::bounds::Changes;
use super::commands::Read;
use super::erased::{Erased, set_generation};
use super::files::now_ms;
use super::health::Fault;
use super::options::Point;
use super::shared::call;
use super::transaction::Delete;
use super::writer::{Begun, Job, Purge, Writer};
use super::{body, schema, usage};
use crate::{Failing, Purged};

/// What one transaction deletes, in bytes.
const DELETE_BYTES: u64 = 8 << 20;
/// Pages by which a purge shortens the file at most.
const VACUUM_PAGES: u64 = 4096;

impl Writer {
    /// The names of queues that are not purged to the end.
    pub(super) fn undone(&self) -> HashSet<Arc<str>> {
        let undone = self.erased.iter().filter(|erased| !erased.is_done);
        undone
            .flat_map(|erased| self.covered(&erased.what))
            .map(|(_, name)| name)
            .collect()
    }

    fn covered(&self, what: &str) -> Vec<(i64, Arc<str>)> {
        let queues = self.counts.queues.iter();
        let covered = queues.filter(|(_, queue)| (self.options.covers)(what, &queue.name));
        covered.map(|(&id, queue)| (id, queue.name.clone())).collect()
    }

    /// Takes over what was purged in an earlier file: it stays purged.
    pub(super) fn adopt_erased(
        &mut self,
        db: &Connection,
        mut erased: Vec<Erased>,
        generation: u64,
    ) -> rusqlite::Result<()> {
        let known = std::mem::take(self.erased.change());
        let missing: Vec<_> = known
            .into_iter()
            .filter(|known| !erased.iter().any(|erased| erased.what == known.what))
            .collect();
        if !missing.is_empty() || generation < self.generation {
            let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            for line in missing {
                // The rows of a file that takes its place are not those that it erased.
                let line = Erased {
                    is_done: self.covered(&line.what).is_empty(),
                    ..line
                };
                line.write(&transaction)?;
                erased.push(line);
            }
            set_generation(&transaction, generation.max(self.generation))?;
            transaction.commit()?;
        }
        self.generation = self.generation.max(generation);
        self.erased.replace(erased);
        Ok(())
    }

    /// Goes on with the purges that a crash or a failure interrupted.
    pub(super) fn resume_purges(&mut self) {
        let undone: Vec<String> = self
            .erased
            .iter()
            .filter(|erased| !erased.is_done)
            .map(|erased| erased.what.clone())
            .collect();
        for what in undone {
            let begun = Some(self.hide(&what));
            self.jobs.push_back(Job::Purge(Purge {
                what,
                done: None,
                begun,
            }));
        }
    }

    /// Ends takes of the queues, and notes what they hold.
    fn hide(&self, what: &str) -> Begun {
        let (queues, names): (Vec<_>, Vec<_>) = self.covered(what).into_iter().unzip();
        let _ = self.reader.send(Read::Hide(names.clone()));
        let held = queues.iter().filter_map(|queue| self.counts.queues.get(queue));
        let deleted = held
            .filter(|queue| !queue.held.is_empty())
            .map(|queue| queue.held.depth(&queue.name))
            .collect();
        Begun {
            queues,
            names,
            deleted,
            file_bytes_before: self.folder_bytes(),
        }
    }

    pub(super) fn refuse_jobs(&mut self, why: &Failing) {
        for job in std::mem::take(&mut self.jobs) {
            match job {
                Job::Purge(Purge { done: Some(done), .. }) => call(done, Err(why.clone())),
                Job::Purge(_) => {}
                Job::Allow(_, done) => call(done, Err(why.clone())),
            }
        }
    }

    /// Makes one step of the first job. If it fails, the job stays.
    pub(super) fn step(&mut self, db: &Connection) -> Result<(), Fault> {
        let Some(mut job) = self.jobs.pop_front() else {
            return Ok(());
        };
        let is_done = match &mut job {
            Job::Allow(what, _) => self.allow(db, what).map(Some),
            Job::Purge(purge) => self.step_purge(db, purge).map(|is_done| is_done.then_some(true)),
        };
        match (is_done, job) {
            (Ok(Some(was_erased)), Job::Allow(_, done)) => call(done, Ok(was_erased)),
            (Ok(Some(_)), Job::Purge(purge)) => self.end_purge(purge),
            (Ok(None), job) => self.jobs.push_front(job),
            (Err(fault), job) => {
                self.jobs.push_front(job);
                return Err(fault);
            }
        }
        Ok(())
    }

    fn allow(&mut self, db: &Connection, what: &str) -> Result<bool, Fault> {
        let at = now_ms();
        let changed = db.execute(
            "UPDATE erased SET allowed = 1, at = ? WHERE selector = ? AND allowed = 0",
            params![at.cast_signed(), what],
        )?;
        for erased in self
            .erased
            .change()
            .iter_mut()
            .filter(|erased| erased.what == what && changed > 0)
        {
            (erased.allowed, erased.at) = (true, at);
        }
        Ok(changed > 0)
    }

    /// Forgets what was allowed so long ago that no row from before can be on its way.
    pub(super) fn forget_allowed(&mut self, db: &Connection) -> Result<(), Fault> {
        let max_age = u64::try_from(self.options.max_age.as_millis()).unwrap_or(u64::MAX);
        let before = now_ms().saturating_sub(max_age);
        let is_old = |erased: &Erased| erased.allowed && erased.is_done && erased.at < before;
        if self.erased.iter().any(is_old) {
            db.execute(
                "DELETE FROM erased WHERE allowed = 1 AND done = 1 AND at < ?",
                [before.cast_signed()],
            )?;
            self.erased.change().retain(|erased| !is_old(erased));
        }
        Ok(())
    }

    /// Makes the next step of a purge. Returns whether it was the last one.
    fn step_purge(&mut self, db: &Connection, purge: &mut Purge) -> Result<bool, Fault> {
        let Some(begun) = &mut purge.begun else {
            self.begin_purge(db, &purge.what)?;
            purge.begun = Some(self.hide(&purge.what));
            (self.options.at)(Point::PurgeBegun);
            return Ok(false);
        };
        if !begun.queues.is_empty() {
            self.delete_rows(db, &mut begun.queues)?;
            (self.options.at)(Point::PurgeDeleted);
            return Ok(false);
        }
        self.shorten_file(db)?;
        self.empty_log(db)?;
        (self.options.at)(Point::PurgeEmptied);
        db.execute("UPDATE erased SET done = 1 WHERE selector = ?", [&purge.what])?;
        (self.options.at)(Point::PurgeDone);
        for erased in self
            .erased
            .change()
            .iter_mut()
            .filter(|erased| erased.what == purge.what)
        {
            erased.is_done = true;
        }
        self.empty_log(db)?;
        Ok(true)
    }

    fn begin_purge(&mut self, db: &Connection, what: &str) -> Result<(), Fault> {
        let generation = self.generation + 1;
        let line = Erased {
            what: what.to_owned(),
            generation,
            at: now_ms(),
            is_done: false,
            allowed: false,
        };
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        line.write(&transaction)?;
        set_generation(&transaction, generation)?;
        usage::erase(&transaction, |owner| (self.options.covers)(what, owner))?;
        transaction.commit()?;
        self.generation = generation;
        self.erased.change().retain(|erased| erased.what != what);
        self.erased.change().push(line);
        self.measure(db)
    }

    /// Deletes a part of the rows of queues, and the queues that are empty then.
    fn delete_rows(&mut self, db: &Connection, queues: &mut Vec<i64>) -> Result<(), Fault> {
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let most = DELETE_BYTES.min(self.log_bytes() / 2);
        let mut deleted = 0;
        let mut left = queues.len();
        {
            let mut find = transaction.prepare("SELECT id FROM rows WHERE queue = ? LIMIT 256")?;
            let mut delete = Delete::new(&transaction)?;
            while deleted < most && left > 0 {
                let queue = queues[left - 1];
                let rows: Vec<i64> = find
                    .query_map([queue], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                if rows.is_empty() {
                    transaction.execute("DELETE FROM queues WHERE id = ?", [queue])?;
                    left -= 1;
                }
                for row in rows {
                    if let Some(row) = delete.row(row, &self.counts, &mut changes)? {
                        deleted += body::disk_bytes(row.bytes);
                    }
                    if deleted >= most {
                        break;
                    }
                }
            }
        }
        changes.write(&transaction)?;
        transaction.commit()?;
        self.counts.apply(changes);
        self.counts.remove(&queues.split_off(left));
        self.measure(db)?;
        self.check_log(db)
    }

    /// Gives a part of the free pages back to the system.
    fn shorten_file(&mut self, db: &Connection) -> Result<(), Fault> {
        let at_once = (self.log_bytes() / 2 / body::PAGE).min(VACUUM_PAGES);
        for _ in 0..VACUUM_PAGES / at_once {
            if schema::pragma(db, "freelist_count")? == 0 {
                break;
            }
            schema::pragma(db, &format!("incremental_vacuum({at_once})"))?;
            self.check_log(db)?;
        }
        self.measure(db)
    }

    /// Copies the log to the database and truncates it: no byte of it is left.
    fn empty_log(&self, db: &Connection) -> Result<(), Fault> {
        let (paused, is_paused) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let _ = self.reader.send(Read::Pause(paused, ended));
        let _ = is_paused.recv();
        let checkpoint = schema::checkpoint(db, "TRUNCATE");
        drop(end);
        if checkpoint?.busy {
            return Err(Fault::failing("erase", "another program reads the file"));
        }
        Ok(())
    }

    fn end_purge(&self, purge: Purge) {
        let Some(begun) = purge.begun else { return };
        let _ = self.reader.send(Read::Show(begun.names));
        if let Some(done) = purge.done {
            let erased = self.erased.iter().find(|erased| erased.what == purge.what);
            let generation = erased.map_or(self.generation, |erased| erased.generation);
            let file_bytes_after = self.folder_bytes();
            let (queues, file_bytes_before) = (begun.deleted, begun.file_bytes_before);
            call(
                done,
                Ok(Purged {
                    generation,
                    queues,
                    streamed: Vec::new(),
                    file_bytes_before,
                    file_bytes_after,
                }),
            );
        }
    }
}
