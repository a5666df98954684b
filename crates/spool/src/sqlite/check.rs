//! Work on the files of a spool that no process uses: checks, repairs, purges.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::bounds::{self, Changes, Counts, Held};
use super::erased::{Erased, Purges, set_generation};
use super::files::{self, DATABASE, Folder, FolderError, SPARE};
use super::health::Fault;
use super::lock::{Lock, LockError};
use super::options::{OpenError, Options};
use super::store::SqliteStore;
use super::transaction::Insert;
use super::{body, schema, usage};
use crate::{Done, Failing, Kind, Purged, QueueDepth, Row, Store as _, Usage};

/// What a file holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Checked {
    /// The version of the schema.
    pub version: usize,
    /// What can be read of each queue.
    pub queues: Vec<QueueDepth>,
    /// Rows that cannot be read, or that differ from the index.
    pub damaged_rows: u64,
    /// When the oldest row was created, in milliseconds since 1970.
    pub oldest: Option<u64>,
    /// What was purged and is not allowed again.
    pub erased: Vec<String>,
    /// What owners have used of their quotas.
    pub usage: Vec<Usage>,
    /// The size of the file and its log, in bytes.
    pub bytes: u64,
    /// What is wrong with the file: nothing, if it is intact.
    pub damage: Vec<String>,
}

/// What a repair saved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Repaired {
    /// The queues of the new file.
    pub queues: Vec<QueueDepth>,
    /// Rows that cannot be read, and are not in the new file.
    pub lost_rows: u64,
    /// Rows that were purged since, and are not in the new file.
    pub erased_rows: u64,
}

/// Why a file was not checked, repaired or purged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The folder cannot be used, or another process uses it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A step on the file failed.
    #[error(transparent)]
    Failing(#[from] Failing),
    /// The file cannot be read or written.
    #[error("{}: {error}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the system, which the message has.
        error: io::Error,
    },
    /// The file is no spool, or not even its first page can be read.
    #[error("{} is no spool: {why}", file.display())]
    NoSpool {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl From<Fault> for CheckError {
    fn from(fault: Fault) -> Self {
        Self::Failing(fault.report())
    }
}

impl From<FolderError> for CheckError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Rule { path, rule } => OpenError::Folder { path, rule }.into(),
            FolderError::Io(error) => Fault::failing("open the folder", error.to_string()).into(),
        }
    }
}

impl From<rusqlite::Error> for CheckError {
    fn from(error: rusqlite::Error) -> Self {
        Fault::from(error).into()
    }
}

/// Reads all of a file, which may be one that was set aside. Changes nothing in it.
///
/// # Errors
/// If a process uses the file, or if it is no spool.
pub fn check(file: &Path) -> Result<Checked, CheckError> {
    let source = Source::open(file)?;
    let db = &source.db;
    let mut damage = source.integrity();
    let (mut held, mut damaged_rows, mut oldest) = (BTreeMap::<i64, Held>::new(), 0, None);
    for id in source.ids() {
        match source.row(id) {
            Some((queue, row)) => {
                held.entry(queue)
                    .or_default()
                    .add(row.kind, row.items, row.body.len() as u64);
                oldest = Some(oldest.unwrap_or(row.created).min(row.created));
            }
            None => damaged_rows += 1,
        }
    }
    let queues = held
        .iter()
        .filter_map(|(&id, held)| Some(held.depth(&source.queue(id)?.0)))
        .collect();
    match Counts::load(db) {
        Ok(counts) => {
            let differ = |queue: &i64, held: &Held| counts.queues.get(queue).is_none_or(|q| q.held.rows != held.rows);
            let found = held.iter().filter(|(queue, held)| differ(queue, held)).count();
            let missing = counts
                .queues
                .iter()
                .filter(|(id, q)| !q.held.is_empty() && !held.contains_key(id))
                .count();
            if found + missing > 0 {
                damage.push(format!(
                    "the counts of {} queues differ from their rows",
                    found + missing
                ));
            }
        }
        Err(error) => damage.push(format!("the counts cannot be read: {error}")),
    }
    let erased = Erased::load(db).unwrap_or_else(|error| {
        damage.push(format!("the purges cannot be read: {error}"));
        Vec::new()
    });
    let usage = source.usage().unwrap_or_else(|error| {
        damage.push(format!("the usage of quotas cannot be read: {error}"));
        Vec::new()
    });
    if damaged_rows > 0 {
        damage.push(format!("{damaged_rows} rows cannot be read"));
    }
    Ok(Checked {
        version: source.version,
        queues,
        damaged_rows,
        oldest,
        erased: erased
            .into_iter()
            .filter(|erased| !erased.allowed)
            .map(|erased| erased.what)
            .collect(),
        usage,
        bytes: source.bytes,
        damage,
    })
}

/// Copies what can be read of a file to a new one. The new file may take the place of `spool.db`.
///
/// A row is copied only if the table and the index agree to which queue it belongs. Of a file that
/// was set aside, nothing is copied that was purged since: the `spool.db` beside it has the list,
/// which the new file gets too.
///
/// # Errors
/// If a process uses the file or its folder, if it is no spool, if the `spool.db` beside it cannot be
/// read, or if the new file exists or cannot be written.
pub fn repair(file: &Path, to: &Path, covers: fn(&str, &str) -> bool) -> Result<Repaired, CheckError> {
    let source = Source::open(file)?;
    let current = source.current()?;
    let (lines, generation) = Erased::rescue(&source.db);
    let (lines, generation) = match &current {
        Some(current) => Erased::merge((lines, generation), Erased::read(&current.db)?),
        None => (lines, generation),
    };
    let mut purges = Purges::default();
    purges.replace(lines);
    files::create(to).map_err(|error| CheckError::Io {
        file: to.to_owned(),
        error,
    })?;
    let target = schema::open_writer(to, schema::STEPS, bounds::log_bytes(u64::MAX))?;
    let mut counts = Counts::default();
    let (mut lost_rows, mut erased_rows) = (0, 0);
    let ids: Vec<i64> = source.ids().into_iter().collect();
    for part in ids.chunks(64) {
        let transaction = Transaction::new_unchecked(&target, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let mut insert = Insert::new(&transaction)?;
        for &id in part {
            let Some((_, row)) = source.row(id) else {
                lost_rows += 1;
                continue;
            };
            if purges.refuses(&row, covers) {
                erased_rows += 1;
                continue;
            }
            let queue = changes.queue(&transaction, &counts, &row)?;
            insert.row(id, queue, &row)?;
            changes.add(&counts, queue, &row);
        }
        drop(insert);
        changes.write(&transaction)?;
        transaction.commit()?;
        counts.apply(changes);
        schema::checkpoint(&target, "PASSIVE")?;
    }
    for purge in purges.iter() {
        purge.write(&target)?;
    }
    set_generation(&target, generation)?;
    usage::write(&target, &source.usage().unwrap_or_default())?;
    schema::checkpoint(&target, "TRUNCATE")?;
    let queues = counts
        .queues
        .values()
        .map(|queue| queue.held.depth(&queue.name))
        .collect();
    Ok(Repaired {
        queues,
        lost_rows,
        erased_rows,
    })
}

/// Purges a tenant in the files of a folder. See [`Store::purge`](crate::Store::purge).
///
/// # Errors
/// If another process uses the folder, or if the disk fails.
pub fn purge(folder: &Path, what: &str, covers: fn(&str, &str) -> bool) -> Result<Purged, CheckError> {
    offline(folder, covers, |store, done| store.purge(what, done))
}

/// Allows what was purged. See [`Store::allow`](crate::Store::allow).
///
/// # Errors
/// If another process uses the folder, or if the disk fails.
pub fn allow(folder: &Path, what: &str, covers: fn(&str, &str) -> bool) -> Result<bool, CheckError> {
    offline(folder, covers, |store, done| store.allow(what, done))
}

fn offline<T: Send + 'static>(
    folder: &Path,
    covers: fn(&str, &str) -> bool,
    call: impl FnOnce(&SqliteStore, Done<Result<T, Failing>>),
) -> Result<T, CheckError> {
    let size = |name| std::fs::metadata(folder.join(name)).map(|file| file.len());
    let file = folder.join(DATABASE);
    size(DATABASE).map_err(|error| CheckError::Io { file, error })?;
    // The spare file keeps its size, which follows from the bound that the folder had.
    let max_bytes = size(SPARE).map_or(u64::MAX, |spare| spare.saturating_mul(8));
    let mut options = Options::new(folder, max_bytes, covers, Arc::new(|_| {}));
    options.max_age = Duration::MAX;
    let store = SqliteStore::open(options)?;
    let (sender, result) = mpsc::channel();
    call(&store, Box::new(move |result| drop(sender.send(result))));
    let result = result.recv();
    store.close(Instant::now() + Duration::from_secs(60));
    let ended = Failing {
        what: "purge",
        error: "the store ended".to_owned(),
    };
    Ok(result.unwrap_or(Err(ended))?)
}

/// A file to read from.
struct Source {
    file: PathBuf,
    db: Connection,
    version: usize,
    bytes: u64,
    /// The names and owners of queues that were read.
    queues: RefCell<HashMap<i64, Option<Names>>>,
    // After the connection, which is closed first.
    _made: Made,
    _lock: Option<Lock>,
}

/// The name and the owner of a queue.
type Names = (Arc<str>, Arc<str>);

/// Files that SQLite makes. Removed at the end.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Source {
    fn open(file: &Path) -> Result<Self, CheckError> {
        let io = |error| CheckError::Io {
            file: file.to_owned(),
            error,
        };
        let file = file.canonicalize().map_err(io)?;
        let beside = |end: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let bytes = |file: &Path| std::fs::metadata(file).map(|file| file.len());
        let is_in_use = file.file_name().is_some_and(|name| name == DATABASE);
        let lock = match file.parent() {
            Some(folder) if is_in_use => {
                let lock = Lock::acquire(&Folder::open(folder, false)?, Duration::ZERO);
                Some(lock.map_err(|error| {
                    match error {
                        LockError::Held(by) => OpenError::Locked {
                            folder: folder.to_owned(),
                            by,
                        }
                        .into(),
                        LockError::Folder(error) => CheckError::from(error),
                    }
                })?)
            }
            _ => None,
        };
        let made = Made(
            ["-wal", "-shm"]
                .map(beside)
                .into_iter()
                .filter(|file| !file.exists())
                .collect(),
        );
        let total = bytes(&file).map_err(io)? + bytes(&beside("-wal")).unwrap_or(0);
        let read = || -> Result<_, Fault> {
            let db = schema::connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            // The log stays as it is.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            schema::pragma(&db, "query_only = ON")?;
            let version = schema::is_ours(&db, schema::STEPS)?;
            Ok((db, version))
        };
        let no_spool = |why| CheckError::NoSpool {
            file: file.clone(),
            why,
        };
        let (db, version) = read().map_err(|fault| no_spool(fault.report().error))?;
        if version == 0 {
            return Err(no_spool("it is empty".to_owned()));
        }
        Ok(Self {
            file,
            db,
            version,
            bytes: total,
            queues: RefCell::default(),
            _made: made,
            _lock: lock,
        })
    }

    /// Opens the `spool.db` beside a file that was set aside, if there is one.
    fn current(&self) -> Result<Option<Self>, CheckError> {
        let name = self.file.file_name().and_then(OsStr::to_str);
        let is_set_aside = name.is_some_and(|name| name.strip_prefix(DATABASE).is_some_and(|rest| !rest.is_empty()));
        let current = self.file.with_file_name(DATABASE);
        if !is_set_aside || !current.exists() {
            return Ok(None);
        }
        Self::open(&current).map(Some)
    }

    fn integrity(&self) -> Vec<String> {
        let lines = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.db.prepare("PRAGMA integrity_check(10)")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        match lines() {
            Ok(lines) if lines == ["ok"] => Vec::new(),
            // The first text has several lines.
            Ok(texts) => texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    /// Files of version 1 have none.
    fn usage(&self) -> rusqlite::Result<Vec<Usage>> {
        if self.version < 2 {
            return Ok(Vec::new());
        }
        usage::load(&self.db)
    }

    /// The ids of all rows, as far as the table or the index can be read from either end.
    fn ids(&self) -> BTreeSet<i64> {
        let mut ids = BTreeSet::new();
        for order in [
            "NOT INDEXED ORDER BY id",
            "NOT INDEXED ORDER BY id DESC",
            "INDEXED BY rows_in_order ORDER BY queue, kind, ord",
            "INDEXED BY rows_in_order ORDER BY queue DESC, kind DESC, ord DESC",
        ] {
            let Ok(mut statement) = self.db.prepare(&format!("SELECT id FROM rows {order}")) else {
                continue;
            };
            let Ok(rows) = statement.query_map([], |row| row.get::<_, i64>(0)) else {
                continue;
            };
            ids.extend(rows.map_while(Result::ok));
        }
        ids
    }

    fn queue(&self, id: i64) -> Option<Names> {
        let read = || {
            let mut statement = self
                .db
                .prepare("SELECT selector, owner FROM queues WHERE id = ?")
                .ok()?;
            statement
                .query_row([id], |row| {
                    Ok((row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into()))
                })
                .ok()
        };
        self.queues.borrow_mut().entry(id).or_insert_with(read).clone()
    }

    /// Reads a row. `None` if it is damaged.
    fn row(&self, id: i64) -> Option<(i64, Row)> {
        self.try_row(id).ok().flatten()
    }

    fn try_row(&self, id: i64) -> rusqlite::Result<Option<(i64, Row)>> {
        let mut statement = self.db.prepare(
            "SELECT queue, kind, ord, items, bytes, created, generation, format, body FROM rows NOT INDEXED
             WHERE id = ?",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let number = |column| row.get::<_, i64>(column);
            let layout = row.get_ref(8)?.as_blob()?;
            let bytes = number(4)?;
            let kind = match number(1)? {
                0 => Kind::Spans,
                1 => Kind::SessionEvents,
                kind => return Err(rusqlite::Error::IntegralValueOutOfRange(1, kind)),
            };
            let queue = number(0)?;
            let (Some(body), Some((name, owner))) = (body::of_layout(layout, bytes), self.queue(queue)) else {
                return Ok(None);
            };
            let row = Row {
                queue: name,
                owner,
                kind,
                order: number(2)?.cast_unsigned(),
                items: row.get(3)?,
                created: number(5)?.cast_unsigned(),
                generation: number(6)?.cast_unsigned(),
                format: row.get(7)?,
                body: body.to_vec().into(),
            };
            Ok(Some((queue, row)))
        };
        let Some((queue, row)) = statement.query_row([id], read).optional()?.flatten() else {
            return Ok(None);
        };
        let mut index = self.db.prepare(
            "SELECT 1 FROM rows INDEXED BY rows_in_order WHERE queue = ? AND kind = ? AND ord = ? AND id = ?",
        )?;
        let agrees = index.exists(params![queue, row.kind as i64, row.order.cast_signed(), id])?;
        Ok(agrees.then_some((queue, row)))
    }
}
