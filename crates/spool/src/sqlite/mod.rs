//! The store in a SQLite file.
//!
//! Two threads own all that is on disk, and talk by `commands.rs`. `reader.rs` takes, and knows
//! which rows are taken. `writer.rs` is the state of the thread that writes, and `run.rs` its loop.
//! Its work is in `opening.rs`, `transaction.rs` (appends and deletions), `erase.rs` (purges) and
//! `full_disk.rs`. Below them, `bounds.rs` counts and refuses, `schema.rs` connects and migrates,
//! `erased.rs` is a table, `body.rs` the layout of a row, `health.rs` sorts failures, and `files.rs`
//! and `lock.rs` own the folder.

mod body;
mod bounds;
pub mod check;
mod commands;
mod erase;
mod erased;
mod files;
mod full_disk;
mod health;
mod lock;
mod opening;
mod reader;
mod run;
mod schema;
mod transaction;
mod writer;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::commands::{Append, Completed, End, Read, Size, Write};
use self::reader::Reader;
use self::writer::Writer;
use crate::{AppendError, Depth, Done, Event, Failing, Health, Kind, Limit, Purged, Rest, Row, RowId, Store, Taken};

/// What may wait for the disk, in bytes.
const MAX_WAITING: u64 = 32 << 20;
/// What a waiting row takes beside its body.
const ROW_BYTES: u64 = 128;

type Notify = Arc<dyn Fn(Event) + Send + Sync>;

/// The settings of a [`SqliteStore`].
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
/// A disk that fails is no such error: the store starts as [`Health::Failing`], and tries again.
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
    #[error("spool: {} {rule}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The rule.
        rule: &'static str,
    },
    /// A thread did not start.
    #[error("spool: cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// A [`Store`] in a SQLite file. See the documentation of the crate.
pub struct SqliteStore {
    /// Always there, except while a forked child forgets it.
    inner: Option<Inner>,
    process: u32,
}

struct Inner {
    writer: Sender<Write>,
    reader: Sender<Read>,
    shared: Arc<Shared>,
}

/// What callers and both threads see.
struct Shared {
    state: Mutex<State>,
    /// Held during a checkpoint, so that one thread waits for the other's.
    checkpoint: Mutex<()>,
}

impl Shared {
    fn new(max_bytes: u64) -> Self {
        let depth = nothing(Health::Working, max_bytes);
        let state = Mutex::new(State {
            depth,
            checkpoint_asked: false,
        });
        Self {
            state,
            checkpoint: Mutex::new(()),
        }
    }
}

struct State {
    depth: Depth,
    /// Whether the reader was asked for a checkpoint.
    checkpoint_asked: bool,
}

impl SqliteStore {
    /// Opens the file of a folder, and starts two threads.
    ///
    /// Blocks for at most `wait_for_lock` and the recovery. Calls `notify` with
    /// [`Event::Opened`] before it returns, or later if the disk fails now.
    ///
    /// # Errors
    /// If another registry uses the folder, if the folder or a file in it is not this user's alone,
    /// or if a thread cannot be started.
    pub fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        let shared = Arc::new(Shared::new(options.max_bytes));
        let (writer, commands) = mpsc::channel();
        let (reader, reads) = mpsc::channel();
        let (opened, is_opened) = mpsc::channel();
        let work = Writer::new(options.clone(), shared.clone(), commands, reader.clone());
        let read = Reader {
            max_age: options.max_age,
            shared: shared.clone(),
            commands: reads,
            writer: writer.clone(),
            notify: options.notify,
            at: options.at,
        };
        // Made before the threads, so that they end if one of them does not start.
        let store = Self {
            inner: Some(Inner { writer, reader, shared }),
            process: std::process::id(),
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(run);
        spawn("spool-read", Box::new(move || read.run())).map_err(OpenError::Thread)?;
        spawn("spool-write", Box::new(move || work.run(&opened))).map_err(OpenError::Thread)?;
        is_opened
            .recv()
            .unwrap_or_else(|_| Err(OpenError::Thread(io::Error::other("the thread ended"))))?;
        Ok(Arc::new(store))
    }

    /// Returns `None` in a forked child, where the threads do not exist.
    fn inner(&self) -> Option<&Inner> {
        self.inner.as_ref().filter(|_| self.process == std::process::id())
    }
}

impl Store for SqliteStore {
    fn append(&self, rows: Vec<Row>, done: Done<Result<Vec<RowId>, AppendError>>) {
        let Some(inner) = self.inner() else { return };
        let bytes = rows.iter().map(|row| row.body.len() as u64 + ROW_BYTES).sum();
        let is_busy = {
            let waiting = &mut guard(&inner.shared.state).depth.waiting_bytes;
            let is_busy = *waiting > 0 && *waiting + bytes > MAX_WAITING;
            *waiting += if is_busy { 0 } else { bytes };
            is_busy
        };
        let append = if is_busy {
            Append {
                rows: Err(AppendError::Busy),
                bytes: 0,
                done,
            }
        } else {
            Append {
                rows: Ok(rows),
                bytes,
                done,
            }
        };
        inner.write(Write::Append(append));
    }

    fn take(&self, queue: &Arc<str>, kind: Kind, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>) {
        let Some(inner) = self.inner() else { return };
        inner.read(Read::Take {
            queue: queue.clone(),
            kind,
            limit,
            done,
        });
    }

    fn release(&self, rows: Vec<(RowId, Option<Rest>)>) {
        let Some(inner) = self.inner() else { return };
        let (rests, wholes): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, rest)| rest.is_some());
        if !wholes.is_empty() {
            inner.read(Read::Release(
                wholes.into_iter().map(|(id, _)| (id, None::<Size>)).collect(),
            ));
        }
        if !rests.is_empty() {
            let rests = rests.into_iter().filter_map(|(id, rest)| Some((id, rest?))).collect();
            inner.write(Write::Rest(rests));
        }
    }

    fn complete(&self, rows: Vec<RowId>) {
        let Some(inner) = self.inner() else { return };
        inner.write(Write::Complete(rows, Completed::Delivered));
    }

    fn purge(&self, what: &str, done: Done<Result<Purged, Failing>>) {
        let Some(inner) = self.inner() else { return };
        inner.write(Write::Purge(what.to_owned(), done));
    }

    fn allow(&self, what: &str, done: Done<Result<bool, Failing>>) {
        let Some(inner) = self.inner() else { return };
        inner.write(Write::Allow(what.to_owned(), done));
    }

    fn depth(&self) -> Depth {
        // In a forked child, the lock may be held by a thread that does not exist.
        match self.inner() {
            Some(inner) => guard(&inner.shared.state).depth,
            None => nothing(Health::Failing, 0),
        }
    }

    fn close(&self, deadline: Instant) {
        let Some(inner) = self.inner() else { return };
        let (closed, is_closed) = mpsc::channel();
        inner.write(Write::End(End::Closed(closed)));
        let _ = is_closed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        match self.inner() {
            Some(inner) => inner.write(Write::End(End::Dropped)),
            // What the parent's threads have locked is never unlocked here.
            None => std::mem::forget(self.inner.take()),
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl Inner {
    fn write(&self, command: Write) {
        if let Err(command) = self.writer.send(command) {
            command.0.refuse(&AppendError::Closed);
        }
    }

    fn read(&self, command: Read) {
        if let Err(mpsc::SendError(Read::Take { done, .. })) = self.reader.send(command) {
            done(Err(closed("take")));
        }
    }
}

fn nothing(health: Health, max_bytes: u64) -> Depth {
    Depth {
        health,
        rows: 0,
        spans: 0,
        events: 0,
        bytes: 0,
        max_bytes,
        waiting_bytes: 0,
        generation: 0,
    }
}

fn closed(what: &'static str) -> Failing {
    Failing {
        what,
        error: "the spool is closed".to_owned(),
    }
}

/// Calls a caller's function. A panic in it is the caller's, and does not end the thread.
fn call<T>(done: Done<T>, result: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
}

/// Reports an event. A panic of the receiver does not end the thread.
fn report(notify: &Notify, event: Event) {
    let _ = catch_unwind(AssertUnwindSafe(|| notify(event)));
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
