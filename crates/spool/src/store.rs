use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

/// A function that a store calls once with a result, on one of its threads. It must not block.
pub type Done<T> = Box<dyn FnOnce(T) + Send>;

/// Where accepted data waits so that it survives the process.
///
/// All lanes of a registry share one store. No method blocks, except [`close`](Self::close).
pub trait Store: Send + Sync {
    /// Appends all rows in one commit, or none.
    ///
    /// `done` runs after the commit, in the order of the calls. Appended rows count as taken, unless
    /// the store is [shared](Self::is_shared): each of them must be completed or released.
    fn append(&self, rows: Vec<Row>, done: Done<Result<Vec<RowId>, AppendError>>);

    /// Takes the oldest rows of a queue and kind that are not taken, in order.
    ///
    /// Returns at least one row, even if it is larger than the limit, unless there is none.
    fn take(&self, queue: &Arc<str>, kind: Kind, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>);

    /// Gives taken rows back, so that a later take returns them in their old place.
    ///
    /// With a rest, the row holds only that from now on.
    fn release(&self, rows: Vec<(RowId, Option<Rest>)>);

    /// Deletes taken rows, with the next commit. Rows of an earlier file are ignored.
    fn complete(&self, rows: Vec<RowId>);

    /// Saves what owners have used of their quotas, with the next commit. It replaces what was saved
    /// of the same owners.
    fn save_usage(&self, usage: Vec<Usage>);

    /// Deletes all rows of the queues that `what` covers, taken ones too, and the usage of the
    /// owners that it covers.
    ///
    /// Until [`allow`](Self::allow), appends to these queues are refused; afterwards, those of an
    /// older generation are. After an error, the purge may have begun. It ends when the store works
    /// again. Files that were set aside are not covered.
    fn purge(&self, what: &str, done: Done<Result<Purged, Failing>>);

    /// Accepts appends for `what` again. Answers whether it was purged.
    fn allow(&self, what: &str, done: Done<Result<bool, Failing>>);

    /// Whether other processes share the store.
    ///
    /// Then appended rows do not count as taken: whichever process the store chooses may take them.
    /// It learns of them by [`Event::Arrived`].
    fn is_shared(&self) -> bool {
        false
    }

    /// The largest body of a row, in bytes, if rows may be divided. A row with one item may be larger.
    fn max_body(&self) -> usize {
        usize::MAX
    }

    /// What the store holds. Does not access the disk.
    fn depth(&self) -> Depth;

    /// Commits what was appended and completed, and unlocks. Later calls fail with
    /// [`AppendError::Closed`]. Blocks until the deadline at most.
    fn close(&self, deadline: Instant);
}

/// The kind of data in a row. Each kind of a queue has an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// OTLP spans.
    Spans,
    /// Requests to a session API.
    SessionEvents,
}

/// Data of one queue, to be appended.
#[derive(Debug, Clone)]
pub struct Row {
    /// The text of the selector.
    pub queue: Arc<str>,
    /// Who shares the bound of one owner: the tenant, or the selector if it has none.
    pub owner: Arc<str>,
    /// The kind of data.
    pub kind: Kind,
    /// The place in the order of the queue and kind. Unique there.
    pub order: u64,
    /// The number of spans or session events.
    pub items: u32,
    /// The generation of purges in which the data was accepted.
    pub generation: u64,
    /// When the data was accepted, in milliseconds since 1970.
    pub created: u64,
    /// How the body is encoded. The store does not read it.
    pub format: u8,
    /// The data.
    pub body: Bytes,
}

/// The identity of a row in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    pub(crate) file: u32,
    pub(crate) id: i64,
}

impl RowId {
    /// Creates the identity of a row: its file or what corresponds to one, and its number there.
    pub fn new(file: u32, id: i64) -> Self {
        Self { file, id }
    }

    /// Returns the file or what corresponds to one.
    pub fn file(self) -> u32 {
        self.file
    }

    /// Returns the number in the file.
    pub fn number(self) -> i64 {
        self.id
    }
}

/// A row that was taken. The fields are those of [`Row`].
#[derive(Debug, Clone)]
pub struct Taken {
    /// The identity, for [`Store::complete`] and [`Store::release`].
    pub id: RowId,
    /// See [`Row::order`].
    pub order: u64,
    /// See [`Row::items`].
    pub items: u32,
    /// See [`Row::generation`].
    pub generation: u64,
    /// See [`Row::created`].
    pub created: u64,
    /// See [`Row::format`].
    pub format: u8,
    /// See [`Row::body`].
    pub body: Bytes,
}

/// What is left of a row after a part of it was delivered.
#[derive(Debug, Clone)]
pub struct Rest {
    /// The number of spans or session events that are left.
    pub items: u32,
    /// How the body is encoded.
    pub format: u8,
    /// The data that is left.
    pub body: Bytes,
}

/// How much one take returns.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// At most this many rows.
    pub rows: usize,
    /// At most this many bytes of bodies.
    pub bytes: usize,
    /// Only rows before this place in the order.
    pub before: u64,
}

/// Why rows were not appended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Too many bytes wait for the disk.
    #[error("the spool is busy: too much data waits for the disk")]
    Busy,
    /// The bound of the store, or the disk, is full.
    #[error("the spool is full")]
    Full,
    /// The share of this owner is full.
    #[error("the share of {0} of the spool is full")]
    OwnerFull(Arc<str>),
    /// A row is larger than any that the store takes.
    #[error("a row of {bytes} bytes is larger than {max}, the most that the spool takes")]
    TooLarge {
        /// The size of the body.
        bytes: usize,
        /// The bound, which may change with the servers of a shared store.
        max: usize,
    },
    /// The data of this queue was purged.
    #[error("the data of {0} is erased")]
    Erased(Arc<str>),
    /// The disk fails.
    #[error(transparent)]
    Failing(#[from] Failing),
    /// The store is closed.
    #[error("the spool is closed")]
    Closed,
}

/// A failure of the disk or the file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the spool fails: {what}: {error}")]
pub struct Failing {
    /// The step that failed.
    pub what: &'static str,
    /// The error of the system or of SQLite.
    pub error: String,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Whether it works.
    pub health: Health,
    /// Rows, taken ones included.
    pub rows: u64,
    /// Spans in these rows.
    pub spans: u64,
    /// Session events in these rows.
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The bound of `bytes`.
    pub max_bytes: u64,
    /// Bytes that wait for their commit.
    pub waiting_bytes: u64,
    /// The generation of purges.
    pub generation: u64,
}

/// Whether a store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes data.
    Working,
    /// Its bound or the disk is full. Data that was delivered makes room.
    Full,
    /// The disk fails. The store tries again by itself.
    Failing,
}

/// What a purge deleted.
#[derive(Debug, Clone)]
pub struct Purged {
    /// The generation after the purge.
    pub generation: u64,
    /// The queues that were deleted, with what they held, taken rows included.
    pub queues: Vec<QueueDepth>,
    /// What a shared store deleted that this process had given to it: in other processes, and on
    /// the way to them. Not in `queues`.
    pub streamed: Vec<QueueDepth>,
    /// The size of the file before, in bytes.
    pub file_bytes_before: u64,
    /// The size of the file after, in bytes.
    pub file_bytes_after: u64,
}

/// What one queue holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The text of the selector.
    pub queue: Arc<str>,
    /// Spans.
    pub spans: u64,
    /// Session events.
    pub events: u64,
    /// Rows with spans.
    pub span_rows: u64,
    /// Rows with session events.
    pub event_rows: u64,
    /// Bytes of bodies.
    pub bytes: u64,
}

/// What a store reports by itself, on its threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A file was opened. Sent at the start, and again after a failure.
    Opened(Recovery),
    /// Rows that were not taken are gone.
    Lost {
        /// Why.
        why: Lost,
        /// What is gone.
        depth: QueueDepth,
    },
    /// Rows that another process appended, or this one to a shared store, may be taken from now on.
    Arrived(Vec<QueueDepth>),
    /// Another process that shares the store erased this.
    Erased {
        /// What a purge covers.
        what: String,
        /// The generation of the purge.
        generation: u64,
    },
    /// Another process that shares the store allowed this again.
    Allowed {
        /// What a purge covered.
        what: String,
        /// The generation of that purge.
        generation: u64,
    },
    /// The bound or the disk is full.
    Full,
    /// The disk fails.
    Failing(Failing),
    /// The store works again.
    Working,
    /// The oldest rows of queues that are not taken. Sent after [`Opened`](Self::Opened), for all
    /// queues, in several parts.
    Oldest(Vec<Oldest>),
    /// A file that cannot be used was renamed, and a new one begun.
    SetAside {
        /// Its new name.
        file: PathBuf,
        /// The rule it broke.
        why: String,
    },
}

/// The oldest row of a queue and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// The text of the selector.
    pub queue: Arc<str>,
    /// The kind of data.
    pub kind: Kind,
    /// See [`Row::created`].
    pub created: u64,
}

/// Why rows are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// They were older than the bound.
    Expired,
    /// Their file was damaged.
    Damaged,
    /// Another process that shares the store takes them.
    Moved,
}

/// What an opened file holds beyond what the store knew.
///
/// At the start this is all of it. Later it is rarely anything: rows of a commit that failed, but
/// reached the disk.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Queues with rows.
    pub queues: Vec<QueueDepth>,
    /// Larger than each order number in the file.
    pub next_order: u64,
    /// The generation of purges.
    pub generation: u64,
    /// What was purged and is not allowed again.
    pub erased: Vec<String>,
    /// What owners have used of their quotas.
    pub usage: Vec<Usage>,
}

/// What an owner has used of its quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The text of a selector, or another name. Purges cover it as they cover a queue.
    pub owner: Arc<str>,
    /// The number of the day, since 1970.
    pub day: i64,
    /// The number of the month, since January 1970.
    pub month: i64,
    /// Spans and bytes of the day, spans and bytes of the month.
    pub counts: [u64; 4],
}
