//! The table of what owners have used of their quotas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, params};

use super::files::now_ms;
use crate::Usage;

/// Rows of the table. Beyond, those that were saved first are deleted.
const MAX_ROWS: i64 = 65_536;
/// A row that was not saved for so long is of another month.
const MAX_AGE: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// What is to be saved with the next commit.
#[derive(Default)]
pub(super) struct Unsaved {
    rows: BTreeMap<Arc<str>, Usage>,
    pub(super) at: Option<Instant>,
}

impl Unsaved {
    pub(super) fn add(&mut self, usage: Vec<Usage>) {
        self.rows
            .extend(usage.into_iter().map(|usage| (Arc::clone(&usage.owner), usage)));
        if self.at.is_none() && !self.rows.is_empty() {
            self.at = Some(Instant::now());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the rows of owners that are not erased.
    pub(super) fn write(&self, db: &Connection, is_erased: impl Fn(&str) -> bool) -> rusqlite::Result<()> {
        write(db, self.rows.values().filter(|usage| !is_erased(&usage.owner)))
    }
}

/// Adds the table to a file of version 1.
pub(super) fn table(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE usage(owner TEXT PRIMARY KEY, day INTEGER NOT NULL, month INTEGER NOT NULL,
             spans_of_day INTEGER NOT NULL, bytes_of_day INTEGER NOT NULL,
             spans_of_month INTEGER NOT NULL, bytes_of_month INTEGER NOT NULL, saved INTEGER NOT NULL) WITHOUT ROWID;",
    )
}

/// Deletes what is too old or too much, and returns the rest.
pub(super) fn open(db: &Connection) -> rusqlite::Result<Vec<Usage>> {
    let age = i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX);
    db.execute(
        "DELETE FROM usage WHERE saved < ?",
        [now_ms().cast_signed().saturating_sub(age)],
    )?;
    db.execute(
        "DELETE FROM usage WHERE owner IN (SELECT owner FROM usage ORDER BY saved DESC LIMIT -1 OFFSET ?)",
        [MAX_ROWS],
    )?;
    load(db)
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<Usage>> {
    let mut statement = db.prepare(
        "SELECT owner, day, month, spans_of_day, bytes_of_day, spans_of_month, bytes_of_month FROM usage ORDER BY owner",
    )?;
    let rows = statement.query_map([], |row| {
        let count = |column| row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Usage {
            owner: row.get::<_, String>(0)?.into(),
            day: row.get(1)?,
            month: row.get(2)?,
            counts: [count(3)?, count(4)?, count(5)?, count(6)?],
        })
    })?;
    rows.collect()
}

pub(super) fn write<'u>(db: &Connection, usage: impl IntoIterator<Item = &'u Usage>) -> rusqlite::Result<()> {
    let mut insert = db.prepare("INSERT OR REPLACE INTO usage VALUES(?, ?, ?, ?, ?, ?, ?, ?)")?;
    let now = now_ms().cast_signed();
    for Usage {
        owner,
        day,
        month,
        counts,
    } in usage
    {
        let [spans_of_day, bytes_of_day, spans_of_month, bytes_of_month] =
            counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        insert.execute(params![
            &**owner,
            day,
            month,
            spans_of_day,
            bytes_of_day,
            spans_of_month,
            bytes_of_month,
            now
        ])?;
    }
    Ok(())
}

/// Deletes the rows of owners that a purge covers.
pub(super) fn erase(db: &Connection, covers: impl Fn(&str) -> bool) -> rusqlite::Result<()> {
    for usage in load(db)?.iter().filter(|usage| covers(&usage.owner)) {
        db.execute("DELETE FROM usage WHERE owner = ?", [&*usage.owner])?;
    }
    Ok(())
}
