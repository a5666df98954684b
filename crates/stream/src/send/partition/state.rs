//! What a partition holds, what it is asked, and how its jobs end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use async_nats::Subject;
use async_nats::jetstream::stream::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tracer_registry_spool::{Done, Failing, Limit, QueueDepth, Rest, RowId, Taken};
use uuid::Uuid;

use crate::books::{Books, Totals};
use crate::send::acks::Acks;
use crate::send::consumer::Pulls;
use crate::send::count::Count;
use crate::send::lease::{Lease, LeaseError};
use crate::send::parking::{Parking, Read, Scanned};
use crate::send::sending::Sending;
use crate::send::timers::Timers;
use crate::send::window::moves::{Delete, ParkedAt, ParkedMessage};
use crate::send::window::{Key, Orphan, Window};

/// What the sender asks of a partition.
pub(crate) enum Command {
    Take {
        key: Key,
        limit: Limit,
        done: Done<Result<Vec<Taken>, Failing>>,
    },
    Release(Vec<(u64, Option<Rest>)>),
    Complete(Vec<u64>),
    /// Deletes what the selector covers. Answers with what that was.
    Erase(String, oneshot::Sender<Vec<QueueDepth>>),
    /// Hands the partition over. Waits for taken rows until then.
    GiveUp(Instant),
}

/// A partition that this process does not own any more.
pub(crate) struct Ended {
    pub(crate) partition: u16,
    pub(crate) orphans: Vec<(RowId, Orphan)>,
    /// Commands that were not handled.
    pub(crate) left: Vec<Command>,
}

/// A partition that this process has taken over.
pub(crate) struct Claimed {
    pub(crate) partition: u16,
    pub(crate) lease: Lease,
    pub(crate) books: Books,
    pub(crate) since: Instant,
}

pub(super) struct Partition {
    pub(super) sending: Arc<Sending>,
    pub(super) number: u16,
    /// See [`RowId::file`].
    pub(super) file: u32,
    pub(super) hot: Stream<()>,
    pub(super) parking: Parking,
    pub(super) pulls: Option<Box<Pulls>>,
    pub(super) pull_errors: u32,
    pub(super) books: Books,
    /// None while the books are written.
    pub(super) lease: Option<Lease>,
    pub(super) confirmed_at: Instant,
    pub(super) is_dirty: bool,
    pub(super) window: Window,
    pub(super) acks: Acks,
    pub(super) jobs: FuturesUnordered<BoxFuture<'static, Outcome>>,
    pub(super) arrived: Vec<(Arc<str>, Count)>,
    /// The last message that an earlier owner received.
    pub(super) received_before: u64,
    /// When to offer messages although an earlier owner's may be missing.
    pub(super) settle_at: Option<Instant>,
    /// Queues that an earlier owner parked, until they are counted.
    pub(super) uncounted: Vec<Key>,
    pub(super) scan_failed: bool,
    /// Parked messages that the scan found to be finished.
    pub(super) copies: BTreeSet<u64>,
    pub(super) totals: ReadTotals,
    pub(super) timers: Timers,
    pub(super) giving_up: Option<Instant>,
    pub(super) is_lost: bool,
    /// What is in the counters of the store.
    pub(super) reported: Count,
    pub(super) reported_parked: [u64; 2],
}

/// Returns [`RowId::file`] of the rows of a partition: its number, and a part of the epoch.
pub(crate) fn file_of(partition: u16, epoch: u64) -> u32 {
    let epoch = u32::try_from(epoch & 0xffff).unwrap_or_default();
    epoch << 16 | u32::from(partition)
}

/// The end of a job.
pub(super) enum Outcome {
    Read {
        key: Key,
        from: u64,
        limit: Limit,
        done: Done<Result<Vec<Taken>, Failing>>,
        read: Read,
    },
    Parked(Key, Vec<(u64, Option<ParkedAt>)>),
    Deleted(Vec<(Key, Vec<Delete>)>),
    Written(Box<Written>),
    Scanned(Option<Scanned>),
    Totals(Option<TotalsRead>),
    Pulls(Option<Box<Pulls>>),
    /// Old messages of the parking stream.
    Old(Vec<ParkedMessage>),
    /// Processes that ended, and their totals are deleted.
    Over(Vec<Uuid>),
    Erased,
}

/// Books that were written, or not, and what they cover.
pub(super) struct Written {
    pub(super) started: Instant,
    pub(super) lease: Lease,
    pub(super) error: Option<LeaseError>,
    pub(super) acks: Vec<Subject>,
    pub(super) deletes: Vec<(Key, Vec<Delete>)>,
}

/// Totals that were read, and are used when all messages that they count have been delivered.
#[derive(Default)]
pub(super) struct ReadTotals {
    pub(super) is_reading: bool,
    pub(super) waiting: Option<(BTreeMap<Uuid, Totals>, u64)>,
    /// Processes without a report, with the time since when there is none.
    pub(super) silent: BTreeMap<Uuid, Instant>,
}

/// Totals of all processes, with the state of the hot stream after they were read.
pub(super) struct TotalsRead {
    pub(super) totals: BTreeMap<Uuid, Totals>,
    /// Processes that report.
    pub(super) live: BTreeSet<Uuid>,
    /// The last message of the stream.
    pub(super) last: u64,
    /// The last message that was delivered, and how many were not.
    pub(super) delivered: u64,
    pub(super) pending: u64,
}
