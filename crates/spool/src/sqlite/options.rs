//! Settings of a store, and why one cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Event;

pub(super) type Notify = Arc<dyn Fn(Event) + Send + Sync>;

/// The settings of a [`SqliteStore`](crate::SqliteStore).
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The folder of the files, for one store alone. Created if it is missing.
    pub folder: PathBuf,
    /// The bound of all files, at least 1 MiB. Files that were set aside are not counted.
    pub max_bytes: u64,
    /// The bound of one owner. No owner gets more than half of what is free.
    pub owner_max_bytes: Option<u64>,
    /// The age at which rows that wait are deleted.
    pub max_age: Duration,
    /// How long to wait for another process that uses the folder.
    pub wait_for_lock: Duration,
    /// Whether what was purged, the first argument, covers a queue, the second.
    pub covers: fn(&str, &str) -> bool,
    /// Receives events, on the threads of the store. It must not block.
    pub notify: Arc<dyn Fn(Event) + Send + Sync>,
    /// Called at points where a crash is of interest, for tests.
    #[doc(hidden)]
    pub at: fn(Point),
}

impl Options {
    /// Returns the settings of a store in a folder: 72 hours, no bound of an owner, no waiting.
    pub fn new(
        folder: impl Into<PathBuf>,
        max_bytes: u64,
        covers: fn(&str, &str) -> bool,
        notify: Arc<dyn Fn(Event) + Send + Sync>,
    ) -> Self {
        Self {
            folder: folder.into(),
            max_bytes,
            owner_max_bytes: None,
            max_age: Duration::from_secs(72 * 3600),
            wait_for_lock: Duration::ZERO,
            covers,
            notify,
            at: |_| {},
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("folder", &self.folder)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// A point where a crash is of interest.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// A take or a search for expired rows was asked for, and reads nothing yet.
    BeforeSnapshot,
    BeforeCommit,
    AfterCommit,
    /// A purge is recorded.
    PurgeBegun,
    /// A part of the rows is deleted.
    PurgeDeleted,
    /// All rows are deleted, and the log is empty.
    PurgeEmptied,
    /// A purge is recorded as done.
    PurgeDone,
    /// A database is renamed, its log not yet.
    BetweenRenames,
}

/// Why a store cannot be opened.
///
/// A disk that fails is no such error: the store starts as [`Failing`](crate::Health::Failing), and
/// tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another registry uses the folder.
    #[error("spool folder {} is in use{}", folder.display(), by.map_or_else(String::new, |by| format!(" by process {by}")))]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process, if its file names it.
        by: Option<u32>,
    },
    /// A folder or file breaks a rule of ownership.
    #[error("{} {rule}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The rule.
        rule: &'static str,
    },
    /// A thread did not start.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}
