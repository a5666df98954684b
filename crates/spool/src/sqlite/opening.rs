//! Opens the folder and the file, and sets aside what cannot be used.

use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::bounds::{Changes, Counts, Held};
use super::commands::Read;
use super::erased::Erased;
use super::files::{DATABASE, Folder, FolderError};
use super::health::Fault;
use super::lock::{Lock, LockError};
use super::options::{OpenError, Point};
use super::schema;
use super::shared::report;
use super::transaction::Delete;
use super::usage;
use super::writer::{DiskFull, Writer};
use crate::{Event, Lost, Recovery};

/// Why the file was not opened.
pub(super) enum Stop {
    Refused(OpenError),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl Writer {
    /// Opens the folder and the file, after it set the old one aside.
    pub(super) fn open(&mut self, aside: Option<(String, String)>) -> Result<Connection, Stop> {
        self.opening += 1;
        self.has_committed = false;
        let refused = |error| match error {
            FolderError::Rule { path, rule } => Stop::Refused(OpenError::Folder { path, rule }),
            FolderError::Io(error) => Fault::failing("open the folder", error.to_string()).into(),
        };
        let folder = Folder::open(&self.options.folder, true).map_err(refused)?;
        self.lock = None;
        let wait = if self.opening == 1 {
            self.options.wait_for_lock
        } else {
            Duration::ZERO
        };
        self.lock = Some(Lock::acquire(&folder, wait).map_err(|error| match error {
            LockError::Held(by) => Stop::Refused(OpenError::Locked {
                folder: self.options.folder.clone(),
                by,
            }),
            LockError::Folder(error) => refused(error),
        })?);
        self.folder = Some(folder);
        if let Some((name, why)) = aside {
            self.set_aside(&name, why)?;
        }
        match self.open_file() {
            Err(Stop::Fault(fault)) => match fault.aside() {
                Some((name, why)) => {
                    self.set_aside(&name, why)?;
                    self.open_file()
                }
                None => Err(fault.into()),
            },
            other => other,
        }
    }

    fn set_aside(&mut self, name: &str, why: String) -> Result<(), Fault> {
        let db = schema::connect(&self.folder().file(DATABASE), OpenFlags::SQLITE_OPEN_READ_WRITE);
        let (erased, generation) = db.map(|db| Erased::rescue(&db)).unwrap_or_default();
        for erased in erased {
            if !self.erased.iter().any(|known| known.what == erased.what) {
                self.erased.change().push(erased);
            }
        }
        self.generation = self.generation.max(generation);
        let at = self.options.at;
        let aside = self.folder().set_aside(name, || at(Point::BetweenRenames));
        let file = aside.map_err(|error| Fault::failing("set a file aside", error.to_string()))?;
        report(&self.options.notify, Event::SetAside { file, why });
        Ok(())
    }

    fn open_file(&mut self) -> Result<Connection, Stop> {
        self.folder().prepare().map_err(|error| match error {
            FolderError::Rule { path, rule } => Stop::Refused(OpenError::Folder { path, rule }),
            FolderError::Io(error) => Fault::failing("open the folder", error.to_string()).into(),
        })?;
        let path = self.folder().file(DATABASE);
        let db = schema::open_writer(&path, schema::STEPS, self.log_bytes())?;
        let meta = |name: &str| db.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0));
        let mark: i64 = meta("file")?;
        let is_same = self.mark == Some(mark);
        let generation = u64::try_from(meta("generation")?).unwrap_or(0);
        let erased = Erased::load(&db)?;
        let usage = usage::open(&db)?;
        let recovery = if is_same {
            self.forget_unsure(&db)?;
            self.erased.replace(erased);
            self.generation = generation;
            self.counts = Counts::load(&db)?;
            Vec::new()
        } else {
            let counts = Counts::load(&db)?;
            if self.mark.take().is_some() {
                self.report_lost();
                self.file += 1;
            }
            self.counts = counts;
            self.adopt_erased(&db, erased, generation)?;
            let hidden = self.undone();
            let found = self.counts.queues.values().filter(|queue| !queue.held.is_empty());
            found
                .filter(|queue| !hidden.contains(&queue.name))
                .map(|queue| queue.held.depth(&queue.name))
                .collect()
        };
        let newest: Option<i64> = db.query_row("SELECT max(id) FROM rows", [], |row| row.get(0))?;
        self.next_id = self.next_id.max(newest.unwrap_or(0) + 1);
        self.unsure.clear();
        self.mark = Some(mark);
        self.live = schema::sizes(&db)?.1;
        (self.has_empty_queues, self.disk_full) = (true, None);
        // Before the first take.
        self.resume_purges();
        let _ = self.reader.send(Read::Open {
            path,
            file: self.file,
            opening: self.opening,
        });
        self.publish();
        let next_order = self
            .counts
            .queues
            .values()
            .map(|queue| queue.held.next_order)
            .max()
            .unwrap_or(0);
        let erased = self
            .erased
            .iter()
            .filter(|erased| !erased.allowed)
            .map(|erased| erased.what.clone())
            .collect();
        let recovery = Recovery {
            queues: recovery,
            next_order,
            generation: self.generation,
            erased,
            usage,
        };
        report(&self.options.notify, Event::Opened(recovery));
        let _ = self.reader.send(Read::Expire);
        if self.folder().allocate_spare(2 * self.log_bytes()).is_err() {
            self.disk_full = Some(DiskFull::now());
        }
        self.update_health();
        Ok(db)
    }

    /// Deletes rows of commits that failed, but reached the disk: their callers still have them.
    fn forget_unsure(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.unsure.is_empty() {
            return Ok(());
        }
        let counts = Counts::load(db)?;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let mut delete = Delete::new(&transaction)?;
        for &id in &self.unsure {
            delete.row(id, &counts, &mut changes)?;
        }
        drop(delete);
        changes.write(&transaction)?;
        transaction.commit()
    }

    /// Reports what was not taken of a file that is gone.
    fn report_lost(&self) {
        let (answer, sums) = mpsc::channel();
        let _ = self.reader.send(Read::Lose(answer));
        let sums = sums.recv().unwrap_or_default();
        for queue in self.counts.queues.values() {
            let lost = queue.held.without(sums.get(&queue.name).unwrap_or(&Held::default()));
            if !lost.is_empty() {
                report(
                    &self.options.notify,
                    Event::Lost {
                        why: Lost::Damaged,
                        depth: lost.depth(&queue.name),
                    },
                );
            }
        }
    }
}
