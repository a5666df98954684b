//! The state of the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::bounds::{self, Counts};
use super::commands::{Append, Completed, End, Read, Write};
use super::erased::Purges;
use super::files::Folder;
use super::health::Fault;
use super::lock::Lock;
use super::options::Options;
use super::shared::{Shared, guard, report};
use super::usage::Unsaved;
use crate::{Done, Event, Failing, Health, Purged, QueueDepth, Rest, RowId};

/// A transaction begins at least so long after the last one, unless it is large.
pub(super) const BETWEEN_COMMITS: Duration = Duration::from_millis(4);
pub(super) const COMMIT_BYTES: u64 = 1 << 20;
/// How long deletions wait for a transaction that appends.
pub(super) const DELETE_AFTER: Duration = Duration::from_millis(20);
/// Deletions in one transaction.
pub(super) const DELETES: usize = 256;
/// A transaction deletes no further row after so many bytes, because each byte is overwritten and
/// appends wait meanwhile.
pub(super) const DELETE_BYTES: u64 = 1 << 20;
/// The file is opened again after this, doubled up to the next.
pub(super) const BACK_OFF: Duration = Duration::from_secs(1);
pub(super) const MAX_BACK_OFF: Duration = Duration::from_secs(30);
pub(super) const IDLE: Duration = Duration::from_secs(1);
pub(super) const IDLE_VACUUM_BYTES: u64 = 4 << 20;

pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Write>,
    pub(super) reader: Sender<Read>,

    pub(super) folder: Option<Folder>,
    pub(super) lock: Option<Lock>,
    /// Raised when another file takes the place of one: ids are those of one file.
    pub(super) file: u32,
    pub(super) opening: u64,
    /// The random number in the file.
    pub(super) mark: Option<i64>,
    pub(super) next_id: i64,
    /// Rows of commits that failed. They may have reached the disk all the same.
    pub(super) unsure: Vec<i64>,
    pub(super) counts: Counts,
    pub(super) live: u64,
    pub(super) generation: u64,
    pub(super) erased: Purges,

    pub(super) appends: VecDeque<Append>,
    pub(super) append_bytes: u64,
    pub(super) deletes: VecDeque<(RowId, Completed)>,
    pub(super) rests: VecDeque<(RowId, Rest)>,
    pub(super) usage: Unsaved,
    pub(super) jobs: VecDeque<Job>,
    pub(super) reader_fault: Option<Fault>,
    pub(super) closing: Option<End>,

    pub(super) last_begin: Instant,
    pub(super) deletes_at: Option<Instant>,
    pub(super) idle_at: Instant,
    pub(super) has_empty_queues: bool,
    pub(super) has_committed: bool,
    pub(super) health: Health,
    pub(super) disk_full: Option<DiskFull>,
    pub(super) back_off: Duration,
}

impl Writer {
    pub(super) fn new(options: Options, shared: Arc<Shared>, commands: Receiver<Write>, reader: Sender<Read>) -> Self {
        let now = Instant::now();
        Self {
            options,
            shared,
            commands,
            reader,
            folder: None,
            lock: None,
            file: 0,
            opening: 0,
            mark: None,
            next_id: 1,
            unsure: Vec::new(),
            counts: Counts::default(),
            live: 0,
            generation: 0,
            erased: Purges::default(),
            appends: VecDeque::new(),
            append_bytes: 0,
            deletes: VecDeque::new(),
            rests: VecDeque::new(),
            usage: Unsaved::default(),
            jobs: VecDeque::new(),
            reader_fault: None,
            closing: None,
            last_begin: now,
            deletes_at: None,
            idle_at: now + IDLE,
            has_empty_queues: true,
            has_committed: false,
            health: Health::Working,
            disk_full: None,
            back_off: BACK_OFF,
        }
    }

    pub(super) fn set_health(&mut self, health: Health, why: Option<&Failing>) {
        if std::mem::replace(&mut self.health, health) == health {
            return;
        }
        guard(&self.shared.state).depth.health = health;
        report(
            &self.options.notify,
            match (health, why) {
                (Health::Failing, Some(why)) => Event::Failing(why.clone()),
                (Health::Full, _) => Event::Full,
                _ => Event::Working,
            },
        );
    }

    pub(super) fn folder_bytes(&self) -> u64 {
        self.folder.as_ref().map_or(0, Folder::bytes)
    }

    pub(super) fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("a file is open only in a folder")
    }

    pub(super) fn publish(&self) {
        let depth = &mut guard(&self.shared.state).depth;
        let total = &self.counts.total;
        depth.rows = total.rows.iter().sum();
        [depth.spans, depth.events] = total.items;
        (depth.bytes, depth.generation) = (self.live, self.generation);
    }

    pub(super) fn log_bytes(&self) -> u64 {
        bounds::log_bytes(self.options.max_bytes)
    }

    pub(super) fn is_nearly_full(&self) -> bool {
        self.live >= bounds::limit(self.options.max_bytes) / 8 * 7
    }

    pub(super) fn update_health(&mut self) {
        if self.disk_full.is_some() {
            self.set_health(Health::Full, None);
        } else if self.health == Health::Failing || !self.is_nearly_full() {
            self.set_health(Health::Working, None);
        }
    }

    /// Finds out why a write failed.
    pub(super) fn sort(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Write(_) if self.folder.as_ref().is_some_and(Folder::is_full) => Fault::Full,
            Fault::Write(error) => Fault::failing("write", error),
            fault => fault,
        }
    }
}

/// Work on the file beside appends and deletions.
pub(super) enum Job {
    Purge(Purge),
    Allow(String, Done<Result<bool, Failing>>),
}

/// A purge, between two of its steps.
pub(super) struct Purge {
    pub(super) what: String,
    /// `None` if the process that asked is gone.
    pub(super) done: Option<Done<Result<Purged, Failing>>>,
    /// After it was recorded.
    pub(super) begun: Option<Begun>,
}

/// A purge that is recorded.
pub(super) struct Begun {
    /// The queues that are left.
    pub(super) queues: Vec<i64>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) deleted: Vec<QueueDepth>,
    pub(super) file_bytes_before: u64,
}

/// What is tried again while the disk is full.
pub(super) struct DiskFull {
    /// Whether the spare file is gone.
    pub(super) is_relieved: bool,
    pub(super) deletes_at: Instant,
    pub(super) spare_at: Instant,
}

impl Job {
    pub(super) fn purge(what: String, done: Done<Result<Purged, Failing>>) -> Self {
        Self::Purge(Purge {
            what,
            done: Some(done),
            begun: None,
        })
    }
}

impl DiskFull {
    pub(super) const RETRY: Duration = Duration::from_secs(1);

    pub(super) fn now() -> Self {
        let at = Instant::now() + Self::RETRY;
        Self {
            is_relieved: false,
            deletes_at: at,
            spare_at: at,
        }
    }
}
