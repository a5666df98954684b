//! What callers and the threads send to each other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::body;
use super::bounds::Held;
use super::health::Fault;
use super::shared::{PANICKED, Shared, call, closed, guard};
use crate::{AppendError, Done, Failing, Kind, Limit, Purged, Rest, Row, RowId, Taken, Usage};

/// For the thread that writes.
pub(super) enum Write {
    Append(Append),
    Complete(Vec<RowId>, Completed),
    Rest(Vec<(RowId, Rest)>),
    Usage(Vec<Usage>),
    Purge(String, Done<Result<Purged, Failing>>),
    Allow(String, Done<Result<bool, Failing>>),
    /// The reader's connection of this opening failed.
    Fault(u64, Fault),
    End(End),
}

pub(super) enum End {
    /// The store is closed. The sender is dropped when the folder is unlocked.
    Closed(Sender<()>),
    Dropped,
}

/// Why a row is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Completed {
    Delivered,
    Expired,
}

pub(super) struct Append {
    /// The rows, or why they were refused already.
    pub(super) rows: Result<Vec<Row>, AppendError>,
    pub(super) bytes: u64,
    pub(super) answer: Answer,
}

/// The answer of an append. Dropped without one, it answers that the append failed.
pub(super) struct Answer {
    done: Option<Done<Result<Vec<RowId>, AppendError>>>,
    /// What the append holds of the bytes that may wait.
    waiting: u64,
    shared: Arc<Shared>,
}

impl Answer {
    pub(super) fn new(done: Done<Result<Vec<RowId>, AppendError>>, waiting: u64, shared: &Arc<Shared>) -> Self {
        Self {
            done: Some(done),
            waiting,
            shared: Arc::clone(shared),
        }
    }

    pub(super) fn give(mut self, result: Result<Vec<RowId>, AppendError>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Vec<RowId>, AppendError>) {
        if let Some(done) = self.done.take() {
            guard(&self.shared.state).depth.waiting_bytes -= self.waiting;
            call(done, result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let why = Failing {
            what: "append",
            error: PANICKED.to_owned(),
        };
        self.end(Err(why.into()));
    }
}

impl Append {
    /// About what its rows take in the file.
    pub(super) fn disk_bytes(&self) -> u64 {
        let rows = self.rows.iter().flatten();
        rows.map(|row| body::disk_bytes(row.body.len() as u64)).sum()
    }
}

impl Write {
    /// Answers a call that cannot be served.
    pub(super) fn refuse(self, why: &AppendError) {
        let failing = |what| match why {
            AppendError::Failing(failing) => failing.clone(),
            _ => closed(what),
        };
        match self {
            Self::Append(append) => append
                .answer
                .give(Err(append.rows.err().unwrap_or_else(|| why.clone()))),
            Self::Purge(_, done) => call(done, Err(failing("purge"))),
            Self::Allow(_, done) => call(done, Err(failing("allow"))),
            _ => {}
        }
    }
}

/// For the thread that takes.
pub(super) enum Read {
    Take {
        queue: Arc<str>,
        kind: Kind,
        limit: Limit,
        done: Done<Result<Vec<Taken>, Failing>>,
    },
    Release(Vec<(RowId, Option<Size>)>),
    /// Rows that a transaction adds or, if it fails, does not add.
    Taken(Vec<Entry>),
    /// Rows that a committed transaction deleted.
    Gone(Vec<RowId>),
    Checkpoint,
    /// Opens the file with this number, for the so many-th time.
    Open {
        path: PathBuf,
        file: u32,
        opening: u64,
    },
    /// Searches for expired rows now. After the opening was reported, because it reports too.
    Expire,
    /// Closes the connection. Takes fail with this.
    Close(Failing, Sender<()>),
    /// Waits until the sender of the last one is gone: no statement runs meanwhile.
    Pause(Sender<()>, Receiver<()>),
    /// Returns what is taken of each queue of a file that is gone. Its rows that are released from
    /// now on are lost.
    Lose(Sender<HashMap<Arc<str>, Held>>),
    /// Forgets the taken rows of these queues, and takes none of their rows any more.
    Hide(Vec<Arc<str>>),
    /// Ends `Hide`.
    Show(Vec<Arc<str>>),
}

/// The part of a row that a release with a rest changes.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) items: u32,
    pub(super) bytes: u64,
}

/// A row that is taken.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: RowId,
    pub(super) queue: Arc<str>,
    pub(super) kind: Kind,
    pub(super) created: u64,
    pub(super) size: Size,
}
