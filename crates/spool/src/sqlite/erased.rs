//! The table of what was purged.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::Row;

/// Queues with a known answer.
const MOST_QUEUES: usize = 10_000;

/// A line of the table `erased`.
pub(crate) struct Erased {
    pub(crate) what: String,
    pub(crate) generation: u64,
    /// When it was purged or allowed.
    pub(crate) at: u64,
    pub(crate) is_done: bool,
    pub(crate) allowed: bool,
}

impl Erased {
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut statement = db.prepare("SELECT selector, generation, at, done, allowed FROM erased")?;
        let lines = statement.query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(Self {
                what: row.get(0)?,
                generation: number(1)?,
                at: number(2)?,
                is_done: row.get(3)?,
                allowed: row.get(4)?,
            })
        })?;
        lines.collect()
    }

    /// Reads what can be read of a damaged file: its lines, and its generation.
    pub(crate) fn rescue(db: &Connection) -> (Vec<Self>, u64) {
        let lines = Self::load(db).unwrap_or_default();
        (lines, generation(db).unwrap_or(0))
    }

    /// Reads the lines and the generation of a file.
    pub(crate) fn read(db: &Connection) -> rusqlite::Result<(Vec<Self>, u64)> {
        Ok((Self::load(db)?, generation(db)?))
    }

    /// Adds the lines of a later file to those of an earlier one. The later one knows better.
    pub(crate) fn merge(earlier: (Vec<Self>, u64), later: (Vec<Self>, u64)) -> (Vec<Self>, u64) {
        let (mut lines, generation) = later;
        for line in earlier.0 {
            if lines.iter().all(|known| known.what != line.what) {
                lines.push(line);
            }
        }
        (lines, generation.max(earlier.1))
    }

    pub(crate) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.execute(
            "INSERT OR REPLACE INTO erased VALUES(?, ?, ?, ?, ?)",
            params![
                self.what,
                self.generation.cast_signed(),
                self.at.cast_signed(),
                self.is_done,
                self.allowed
            ],
        )?;
        Ok(())
    }
}

/// What was purged, with an answer for each queue.
#[derive(Default)]
pub(crate) struct Purges {
    lines: Vec<Erased>,
    /// By queue: rows of an older generation are refused.
    before: HashMap<Arc<str>, u64>,
}

impl Deref for Purges {
    type Target = [Erased];

    fn deref(&self) -> &[Erased] {
        &self.lines
    }
}

impl Purges {
    pub(crate) fn replace(&mut self, lines: Vec<Erased>) {
        *self.change() = lines;
    }

    pub(crate) fn change(&mut self) -> &mut Vec<Erased> {
        self.before.clear();
        &mut self.lines
    }

    /// Whether a row must not be appended: its data was purged after it was accepted, or is not
    /// allowed again.
    pub(crate) fn refuses(&mut self, row: &Row, covers: fn(&str, &str) -> bool) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        if let Some(&before) = self.before.get(&row.queue) {
            return row.generation < before;
        }
        let covering = self.lines.iter().filter(|erased| covers(&erased.what, &row.queue));
        let before = covering
            .map(|erased| if erased.allowed { erased.generation } else { u64::MAX })
            .max()
            .unwrap_or(0);
        if self.before.len() >= MOST_QUEUES {
            self.before.clear();
        }
        self.before.insert(row.queue.clone(), before);
        row.generation < before
    }
}

fn generation(db: &Connection) -> rusqlite::Result<u64> {
    let value: i64 = db.query_row("SELECT value FROM meta WHERE name = 'generation'", [], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

pub(crate) fn set_generation(db: &Connection, generation: u64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE meta SET value = ? WHERE name = 'generation'",
        [generation.cast_signed()],
    )?;
    Ok(())
}
