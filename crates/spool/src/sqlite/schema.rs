//! The connection, its settings, and the tables.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::body::PAGE;
use super::health::Fault;
use super::usage;

/// "trsp", in the header of the file.
const APPLICATION_ID: i64 = 0x7472_7370;
/// 3.51.3: before, a checkpoint of a second connection could damage the file.
const OLDEST_SQLITE: i32 = 3_051_003;

/// A change from one version of the schema to the next.
pub(crate) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Each step raises the version by one. An empty file has version 0.
pub(crate) const STEPS: &[Step] = &[tables, usage::table];

fn tables(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO meta VALUES('generation', 0), ('file', random());
         CREATE TABLE queues(id INTEGER PRIMARY KEY, selector TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
             span_rows INTEGER NOT NULL, event_rows INTEGER NOT NULL, spans INTEGER NOT NULL, events INTEGER NOT NULL,
             bytes INTEGER NOT NULL, disk INTEGER NOT NULL, next_order INTEGER NOT NULL);
         CREATE TABLE rows(id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, kind INTEGER NOT NULL, ord INTEGER NOT NULL,
             items INTEGER NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL, generation INTEGER NOT NULL,
             format INTEGER NOT NULL, body BLOB NOT NULL);
         CREATE UNIQUE INDEX rows_in_order ON rows(queue, kind, ord);
         CREATE TABLE erased(selector TEXT PRIMARY KEY, generation INTEGER NOT NULL, at INTEGER NOT NULL,
             done INTEGER NOT NULL, allowed INTEGER NOT NULL) WITHOUT ROWID;",
    )
}

/// Opens the database of a writer: settings, version, migration.
pub(crate) fn open_writer(path: &Path, steps: &[Step], log_bytes: u64) -> Result<Connection, Fault> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(Fault::failing(
            "open",
            format!("SQLite {} is older than 3.51.3", rusqlite::version()),
        ));
    }
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let empty = is_ours(&db, steps)? == 0;
    // The size of a page and the vacuum are set before the first table, or not at all.
    let settings: &[&str] = if empty {
        &["page_size = 4096", "auto_vacuum = INCREMENTAL"]
    } else {
        &[]
    };
    for setting in settings {
        pragma(&db, setting)?;
    }
    pragma(&db, "secure_delete = ON")?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::failing(
            "open",
            format!("the journal mode is {mode} instead of wal"),
        ));
    }
    pragma(&db, &format!("journal_size_limit = {log_bytes}"))?;
    pragma(&db, "cache_size = -8192")?;
    migrate(&db, steps)?;
    if pragma(&db, "page_size")? != PAGE.cast_signed() || pragma(&db, "auto_vacuum")? != 2 {
        return Err(Fault::Foreign);
    }
    Ok(db)
}

/// Opens a second connection, which reads and makes checkpoints.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    pragma(&db, "query_only = ON")?;
    pragma(&db, "cache_size = -2048")?;
    Ok(db)
}

/// Opens a database with the settings that each connection has.
pub(crate) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags)?;
    for setting in [
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        "temp_store = MEMORY",
        // An I/O error in a mapped file would be a signal.
        "mmap_size = 0",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ] {
        pragma(&db, setting)?;
    }
    Ok(db)
}

/// Returns the version of the file, 0 if it is empty.
pub(crate) fn is_ours(db: &Connection, steps: &[Step]) -> Result<usize, Fault> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application = pragma(db, "application_id")?;
    let version = pragma(db, "user_version")?;
    match usize::try_from(version) {
        Ok(0) if tables == 0 && application == 0 => Ok(0),
        Ok(version) if application == APPLICATION_ID && (1..=steps.len()).contains(&version) => Ok(version),
        Ok(_) if application == APPLICATION_ID && version > 0 => Err(Fault::Newer(version)),
        _ => Err(Fault::Foreign),
    }
}

fn migrate(db: &Connection, steps: &[Step]) -> Result<(), Fault> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let version = is_ours(&transaction, steps)?;
    if version == steps.len() {
        return Ok(());
    }
    for step in &steps[version..] {
        step(&transaction)?;
    }
    pragma(&transaction, &format!("application_id = {APPLICATION_ID}"))?;
    pragma(&transaction, &format!("user_version = {}", steps.len()))?;
    Ok(transaction.commit()?)
}

/// Runs a pragma to its end, and returns the first number that it reports.
///
/// `execute` would make one step: `incremental_vacuum` frees one page in each.
pub(crate) fn pragma(db: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    let mut statement = db.prepare(&format!("PRAGMA {pragma}"))?;
    let mut rows = statement.query([])?;
    let mut first = None;
    while let Some(row) = rows.next()? {
        first = first.or(row.get(0).ok());
    }
    Ok(first.unwrap_or(0))
}

/// The bytes of all pages, and of those that are in use.
pub(crate) fn sizes(db: &Connection) -> rusqlite::Result<(u64, u64)> {
    let pages = pragma(db, "page_count")?.unsigned_abs();
    let free = pragma(db, "freelist_count")?.unsigned_abs();
    Ok((pages * PAGE, pages.saturating_sub(free) * PAGE))
}

/// What a checkpoint did.
pub(crate) struct Checkpoint {
    /// Whether another connection prevented it.
    pub(crate) busy: bool,
    /// Bytes in the log.
    pub(crate) log: u64,
    /// Of these, in the database too.
    pub(crate) copied: u64,
}

/// Makes a checkpoint: `PASSIVE`, `TRUNCATE`, or `NOOP`, which reads the size of the log.
pub(crate) fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<Checkpoint> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let frames = |column| {
            row.get::<_, i64>(column)
                .map(|frames| u64::try_from(frames).unwrap_or(0) * (PAGE + 24))
        };
        Ok(Checkpoint {
            busy: row.get::<_, i64>(0)? != 0,
            log: frames(1)?,
            copied: frames(2)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_column(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch("ALTER TABLE queues ADD COLUMN counter INTEGER NOT NULL DEFAULT 3")
    }

    #[test]
    fn an_older_file_is_migrated_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spool.db");
        std::fs::write(&file, "").expect("written");
        let db = open_writer(&file, STEPS, 1 << 20).expect("an empty file");
        db.execute(
            "INSERT INTO queues VALUES(1, 'acme', 'acme', 1, 0, 1, 0, 4, 4736, 9)",
            [],
        )
        .expect("inserted");
        drop(db);
        let newer = [STEPS, &[add_column as Step]].concat();
        let db = open_writer(&file, &newer, 1 << 20).expect("migrated");
        let counter: i64 = db
            .query_row("SELECT counter FROM queues", [], |row| row.get(0))
            .expect("a row");
        assert_eq!((counter, pragma(&db, "user_version").expect("a number")), (3, 3));
        drop(db);
        assert!(matches!(open_writer(&file, STEPS, 1 << 20), Err(Fault::Newer(3))));
    }

    #[test]
    fn a_file_without_the_table_of_usage_gets_it_and_keeps_its_rows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spool.db");
        std::fs::write(&file, "").expect("written");
        let db = open_writer(&file, &STEPS[..1], 1 << 20).expect("an empty file");
        assert_eq!(pragma(&db, "user_version").expect("a number"), 1);
        db.execute(
            "INSERT INTO queues VALUES(1, 'acme', 'acme', 1, 0, 1, 0, 4, 4736, 9)",
            [],
        )
        .expect("inserted");
        assert!(usage::load(&db).is_err());
        drop(db);
        let db = open_writer(&file, STEPS, 1 << 20).expect("migrated");
        assert_eq!(pragma(&db, "user_version").expect("a number"), 2);
        assert_eq!(usage::open(&db).expect("a table"), []);
        let queues: i64 = db
            .query_row("SELECT count(*) FROM queues", [], |row| row.get(0))
            .expect("a count");
        assert_eq!(queues, 1);
        drop(db);
        assert!(matches!(open_writer(&file, &STEPS[..1], 1 << 20), Err(Fault::Newer(2))));
    }

    #[test]
    fn a_writer_has_the_settings_on_which_durability_and_erasure_rest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spool.db");
        std::fs::write(&file, "").expect("written");
        let db = open_writer(&file, STEPS, 1 << 20).expect("an empty file");
        let full = 2;
        for (setting, value) in [
            ("secure_delete", 1),
            ("synchronous", full),
            ("auto_vacuum", 2),
            ("mmap_size", 0),
        ] {
            assert_eq!(pragma(&db, setting).expect("a number"), value, "{setting}");
        }
    }

    #[test]
    fn a_failed_step_changes_nothing() {
        fn fails(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
            add_column(transaction)?;
            transaction.execute_batch("ALTER TABLE missing ADD COLUMN counter")
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spool.db");
        std::fs::write(&file, "").expect("written");
        open_writer(&file, STEPS, 1 << 20).expect("an empty file");
        assert!(open_writer(&file, &[STEPS, &[fails as Step]].concat(), 1 << 20).is_err());
        let db = open_writer(&file, STEPS, 1 << 20).expect("still the same version");
        assert!(db.prepare("SELECT counter FROM queues").is_err());
    }

    #[test]
    fn a_take_reads_in_the_order_of_an_index() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("spool.db");
        std::fs::write(&file, "").expect("written");
        let db = open_writer(&file, STEPS, 1 << 20).expect("an empty file");
        let mut plan = db
            .prepare(&format!("EXPLAIN QUERY PLAN {}", super::super::reader::TAKE))
            .expect("a query");
        let lines = plan
            .query_map(rusqlite::params!["acme", 0, 1], |row| row.get::<_, String>(3))
            .expect("a plan");
        let lines: Vec<_> = lines.map(|line| line.expect("a line")).collect();
        assert!(
            lines.iter().all(|line| line.starts_with("SEARCH")),
            "no scan and no sorting: {lines:?}"
        );
        assert!(lines.iter().any(|line| line.contains("rows_in_order")), "{lines:?}");
    }
}
