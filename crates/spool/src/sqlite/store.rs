//! The store as callers see it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use super::bounds;
use super::commands::{Answer, Append, Completed, End, Read, Size, Write};
use super::options::{OpenError, Options};
use super::reader::Reader;
use super::shared::{Shared, closed, guard, nothing};
use super::writer::Writer;
use crate::{AppendError, Depth, Done, Failing, Health, Kind, Limit, Purged, Rest, Row, RowId, Store, Taken, Usage};

/// What may wait for the disk, in bytes.
const MAX_WAITING: u64 = 32 << 20;
/// What a waiting row takes beside its body.
const ROW_BYTES: u64 = 128;

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

impl SqliteStore {
    /// Opens the file of a folder, and starts two threads.
    ///
    /// Blocks for at most `wait_for_lock` and the recovery. Calls `notify` with
    /// [`Opened`](crate::Event::Opened) before it returns, or later if the disk fails now.
    ///
    /// # Errors
    /// If another registry uses the folder, if the folder or a file in it is not this user's alone,
    /// or if a thread cannot be started.
    pub fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        let shared = Arc::new(Shared::new(bounds::limit(options.max_bytes)));
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
        let (rows, bytes) = if is_busy {
            (Err(AppendError::Busy), 0)
        } else {
            (Ok(rows), bytes)
        };
        let answer = Answer::new(done, bytes, &inner.shared);
        inner.write(Write::Append(Append { rows, bytes, answer }));
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

    fn save_usage(&self, usage: Vec<Usage>) {
        let Some(inner) = self.inner() else { return };
        inner.write(Write::Usage(usage));
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
