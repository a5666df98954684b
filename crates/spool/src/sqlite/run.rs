//! The thread that writes: one transaction for all that waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::commands::{End, Read, Write};
use super::health::Fault;
use super::opening::Stop;
use super::options::OpenError;
use super::schema;
use super::shared::{PANICKED, closed, guard};
use super::writer::{
    BETWEEN_COMMITS, COMMIT_BYTES, DELETE_AFTER, DELETES, IDLE, IDLE_VACUUM_BYTES, Job, MAX_BACK_OFF, Writer,
};
use crate::{AppendError, Failing, Health};

impl Writer {
    /// Works until the store is dropped. Answers `opened` after the first attempt.
    pub(super) fn run(mut self, opened: &Sender<Result<(), OpenError>>) {
        let mut aside = None;
        loop {
            let fault = match self.open(aside.take()) {
                Ok(db) => {
                    let _ = opened.send(Ok(()));
                    // The file is opened again after a panic too, so that all calls are answered.
                    let worked = catch_unwind(AssertUnwindSafe(|| self.work(&db)));
                    match worked.unwrap_or_else(|_| Err(Fault::failing("write", PANICKED))) {
                        Ok(()) => {
                            self.finish(db);
                            break;
                        }
                        Err(fault) => fault,
                    }
                }
                Err(Stop::Fault(fault)) => fault,
                Err(Stop::Refused(error)) if self.opening == 1 => {
                    self.lock = None;
                    let _ = opened.send(Err(error));
                    return;
                }
                Err(Stop::Refused(error)) => Fault::failing("open", error.to_string()),
            };
            let fault = self.sort(fault);
            let why = fault.report();
            self.refuse_all(&why);
            aside = fault.aside();
            if aside.is_some() && self.has_committed {
                continue;
            }
            self.set_health(Health::Failing, Some(&why));
            let _ = opened.send(Ok(()));
            if !self.wait(&why) {
                break;
            }
        }
        self.answer_closed();
    }

    /// Serves commands, until the store is closed or the file fails.
    fn work(&mut self, db: &Connection) -> Result<(), Fault> {
        while self.closing.is_none() {
            self.collect();
            if let Some(fault) = self.reader_fault.take() {
                self.heal(db, fault)?;
            }
            if self.commit_at().is_some_and(|at| at <= Instant::now()) {
                self.transact(db)?;
            }
            if self.jobs_at().is_some_and(|at| at <= Instant::now()) {
                self.step(db).or_else(|fault| self.heal(db, fault))?;
            }
            self.tick(db)?;
        }
        self.refuse_jobs(&closed("purge"));
        while !(self.appends.is_empty() && self.deletes.is_empty() && self.rests.is_empty() && self.usage.is_empty()) {
            self.transact(db)?;
            if self.disk_full.is_some() && self.appends.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Receives commands until something is due.
    fn collect(&mut self) {
        while self.append_bytes < COMMIT_BYTES && self.closing.is_none() && self.reader_fault.is_none() {
            let wait = self.due().saturating_duration_since(Instant::now());
            let command = match self.commands.recv_timeout(wait) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => Write::End(End::Dropped),
            };
            self.idle_at = Instant::now() + IDLE;
            match command {
                Write::Append(append) => {
                    self.append_bytes += append.bytes;
                    self.appends.push_back(append);
                }
                Write::Purge(what, done) => self.jobs.push_back(Job::purge(what, done)),
                Write::Allow(what, done) => self.jobs.push_back(Job::Allow(what, done)),
                command => self.note(command),
            }
        }
    }

    /// Accepts a command that needs no file that works.
    fn note(&mut self, command: Write) {
        match command {
            Write::Complete(rows, why) => self.deletes.extend(rows.into_iter().map(|row| (row, why))),
            Write::Rest(rests) => self.rests.extend(rests),
            Write::Usage(usage) => self.usage.add(usage),
            Write::Fault(opening, fault) if opening == self.opening => self.reader_fault = Some(fault),
            Write::Fault(..) => {}
            Write::End(end) => self.closing = Some(end),
            command @ (Write::Append(_) | Write::Purge(..) | Write::Allow(..)) => {
                command.refuse(&AppendError::Closed);
            }
        }
        if self.deletes_at.is_none() && !(self.deletes.is_empty() && self.rests.is_empty()) {
            self.deletes_at = Some(Instant::now() + DELETE_AFTER);
        }
    }

    /// When the next transaction is due.
    fn commit_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let appends = match self.append_bytes {
            _ if self.appends.is_empty() => None,
            COMMIT_BYTES.. => Some(now),
            _ => Some(self.last_begin + BETWEEN_COMMITS),
        };
        let deletes = match (&self.disk_full, self.deletes.len()) {
            (Some(full), _) => self.deletes_at.map(|at| at.max(full.deletes_at)),
            (None, DELETES..) => Some(now),
            (None, _) => self.deletes_at,
        };
        let usage = self.usage.at.map(|at| match &self.disk_full {
            Some(full) => at.max(full.deletes_at),
            None => at,
        });
        appends.into_iter().chain(deletes).chain(usage).min()
    }

    fn jobs_at(&self) -> Option<Instant> {
        let at = self
            .disk_full
            .as_ref()
            .map_or_else(Instant::now, |full| full.deletes_at);
        (!self.jobs.is_empty()).then_some(at)
    }

    fn due(&self) -> Instant {
        let spare = self.disk_full.as_ref().map(|full| full.spare_at);
        self.commit_at()
            .into_iter()
            .chain(spare)
            .chain(self.jobs_at())
            .fold(self.idle_at, Instant::min)
    }

    /// Idle work, and attempts to leave a full disk.
    fn tick(&mut self, db: &Connection) -> Result<(), Fault> {
        let now = Instant::now();
        if self.disk_full.as_ref().is_some_and(|full| full.spare_at <= now) {
            self.leave_full_disk(db)?;
        }
        if self.idle_at <= now {
            self.idle_at = now + IDLE;
            let result = self.tidy(db);
            result.or_else(|fault| self.heal(db, fault))?;
        }
        Ok(())
    }

    fn tidy(&mut self, db: &Connection) -> Result<(), Fault> {
        let (file, live) = schema::sizes(db)?;
        let free = file - live;
        if free > IDLE_VACUUM_BYTES && free > file / 4 {
            schema::pragma(db, "incremental_vacuum(256)")?;
            self.check_log(db)?;
        }
        if self.has_empty_queues {
            let mut empty = self.counts.empty();
            self.has_empty_queues = empty.len() > DELETES;
            empty.truncate(DELETES);
            self.remove_queues(db, &empty)?;
        }
        self.forget_allowed(db)
    }

    fn remove_queues(&mut self, db: &Connection, queues: &[i64]) -> Result<(), Fault> {
        if queues.is_empty() {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        for queue in queues {
            transaction.execute("DELETE FROM queues WHERE id = ?", [queue])?;
        }
        transaction.commit()?;
        self.counts.remove(queues);
        Ok(())
    }

    /// Closes the reader's connection, and ends all calls that wait.
    fn refuse_all(&mut self, why: &Failing) {
        self.close_reader(why);
        self.reader_fault = None;
        self.append_bytes = 0;
        for append in std::mem::take(&mut self.appends) {
            Write::Append(append).refuse(&AppendError::Failing(why.clone()));
        }
        self.refuse_jobs(why);
    }

    fn close_reader(&self, why: &Failing) {
        let (closed, is_closed) = mpsc::channel();
        let _ = self.reader.send(Read::Close(why.clone(), closed));
        let _ = is_closed.recv();
        guard(&self.shared.state).checkpoint_asked = false;
    }

    /// Refuses calls until the file is to be opened again. Returns false if the store is closed.
    fn wait(&mut self, why: &Failing) -> bool {
        let until = Instant::now() + self.back_off;
        self.back_off = (self.back_off * 2).min(MAX_BACK_OFF);
        while self.closing.is_none() {
            match self
                .commands
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(command @ (Write::Append(_) | Write::Purge(..) | Write::Allow(..))) => {
                    command.refuse(&AppendError::Failing(why.clone()));
                }
                Ok(command) => self.note(command),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// Leaves the file as it should be found.
    fn finish(&mut self, db: Connection) {
        self.close_reader(&closed("take"));
        let _ = schema::checkpoint(&db, "TRUNCATE");
        drop(db);
    }

    fn answer_closed(mut self) {
        self.lock = None;
        match self.closing.take() {
            Some(End::Closed(closed)) => drop(closed),
            Some(End::Dropped) => return,
            None => {}
        }
        while let Ok(command) = self.commands.recv() {
            match command {
                Write::End(End::Dropped) => return,
                Write::End(End::Closed(closed)) => drop(closed),
                command => command.refuse(&AppendError::Closed),
            }
        }
    }
}
