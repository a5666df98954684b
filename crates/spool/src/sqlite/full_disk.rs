//! A full disk: what is done until there is room, and whether the store works.

use std::time::Instant;

use rusqlite::Connection;

use super::health::Fault;
use super::schema;
use super::writer::{DiskFull, Writer};

impl Writer {
    /// Goes on after a fault, if the file can be used further.
    pub(super) fn heal(&mut self, db: &Connection, fault: Fault) -> Result<(), Fault> {
        match self.sort(fault) {
            Fault::Full => self.enter_full_disk(db),
            fault => Err(fault),
        }
    }

    /// Refuses appends from now on.
    pub(super) fn note_full_disk(&mut self) {
        self.disk_full.get_or_insert_with(DiskFull::now);
        self.update_health();
    }

    fn enter_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        self.note_full_disk();
        let full = self.disk_full.get_or_insert_with(DiskFull::now);
        if full.is_relieved {
            full.deletes_at = Instant::now() + DiskFull::RETRY;
        } else {
            // What the spare file occupied is enough for a checkpoint, and then for deletions.
            (full.is_relieved, full.deletes_at) = (true, Instant::now());
            let freed = self.folder().free_spare();
            freed.map_err(|error| Fault::failing("free the spare file", error.to_string()))?;
        }
        self.unless_full(|| schema::checkpoint(db, "PASSIVE").map(drop))
    }

    /// Makes the file smaller, and ends the state if there is room for the spare file again.
    pub(super) fn leave_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        let now = Instant::now();
        self.disk_full = Some(DiskFull {
            is_relieved: true,
            deletes_at: now,
            spare_at: now + DiskFull::RETRY,
        });
        self.unless_full(|| schema::pragma(db, "incremental_vacuum(256)").map(drop))?;
        self.unless_full(|| schema::checkpoint(db, "PASSIVE").map(drop))?;
        if self.folder().allocate_spare(2 * self.log_bytes()).is_ok() {
            self.disk_full = None;
            self.measure(db)?;
        }
        Ok(())
    }

    fn unless_full(&self, step: impl FnOnce() -> rusqlite::Result<()>) -> Result<(), Fault> {
        match step().map_err(|error| self.sort(error.into())) {
            Err(Fault::Full) => Ok(()),
            other => other,
        }
    }
}
