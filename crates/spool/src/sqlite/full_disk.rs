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

    fn enter_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        let is_new = self.disk_full.is_none();
        let full = self.disk_full.insert(DiskFull::now());
        if is_new {
            // What the spare file occupied is enough for a checkpoint, and then for deletions.
            full.deletes_at -= DiskFull::RETRY;
            self.folder()
                .free_spare()
                .map_err(|error| Fault::failing("free the spare file", error.to_string()))?;
        }
        self.update_health();
        self.unless_full(|| schema::checkpoint(db, "PASSIVE").map(drop))
    }

    pub(super) fn leave_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        self.disk_full = Some(DiskFull {
            deletes_at: Instant::now(),
            ..DiskFull::now()
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
