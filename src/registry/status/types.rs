//! Types of a status.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::SpoolMode;
use crate::context::{PropagationStatus, StaleScopeStatus};
use crate::export::{
    Breakers, CopyStatus, DestinationStatus, ErrorsStatus, ExportError, KeyStatus, RedactionStatus, RefusedSpan,
    RequestStatus,
};
use crate::ledger::LedgerSnapshot;
use crate::policy::quota::QuotaUse;
use crate::registry::reload::ConfigurationStatus;
use crate::registry::unrouted::UnroutedStatus;
use crate::selector::Selector;
use crate::util::wall_time;

/// Status of a registry and its tracers. Counters start when the registry is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// State of the running configuration.
    pub configuration: ConfigurationStatus,
    /// One entry per selector, sorted by selector.
    pub tracers: Vec<TracerStatus>,
    /// The pool of tracers.
    pub pool: PoolStatus,
    /// Totals of selectors that are no longer in `tracers`.
    pub evicted_totals: EvictedTotals,
    /// Spans and events that were not recorded because no tracer was in scope.
    pub unrouted: UnroutedStatus,
    /// Spans started in the scope of a request more than 60 s after the request ended.
    pub stale_scope_spans: StaleScopeStatus,
    /// Baggage omitted from outgoing requests, and foreign parents and links removed from spans.
    pub propagation: PropagationStatus,
    /// Data on disk. `None` if `spool.mode` is off.
    pub spool: Option<SpoolStatus>,
}

/// Data on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpoolStatus {
    /// What is written: `spool.mode`.
    pub mode: SpoolMode,
    /// Folder of the files: `spool.path`.
    pub path: PathBuf,
    /// Whether the files take data.
    pub health: SpoolHealth,
    /// Why they fail. `None` if they do not.
    pub error: Option<String>,
    /// When they began to fail or to be full.
    #[serde(with = "wall_time::optional")]
    pub since: Option<SystemTime>,
    /// Bytes that data takes on disk.
    pub bytes: u64,
    /// Limit of `bytes`: `spool.max_bytes` without the database's log and the spare file.
    pub max_bytes: u64,
    /// Batches and session events on disk, also those with a copy in memory.
    pub rows: u64,
    /// Spans in these rows.
    pub spans: u64,
    /// Session events in these rows.
    pub session_events: u64,
    /// When the oldest data that is on disk only was accepted, as far as known: rows of an earlier
    /// process are read when they are sent. Always `None` without the tracers.
    #[serde(with = "wall_time::optional")]
    pub oldest: Option<SystemTime>,
    /// Spans and session events that were found at the start.
    pub recovered: u64,
    /// Spans and session events that were deleted because they were older than `spool.max_age`.
    pub expired: u64,
    /// Files that could not be used and were renamed since the start, newest first, at most 16.
    pub set_aside: Vec<String>,
}

/// Whether files on disk take data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpoolHealth {
    /// They do.
    Working,
    /// `spool.max_bytes` is used up, or the disk is full.
    Full,
    /// The disk fails. The registry tries again by itself.
    Failing,
}

/// The pool of tracers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Tracers in the pool, including those being created and excluding dedicated ones.
    pub tracers: usize,
    /// Limit of `tracers`: `pool.max_tracers`.
    pub max_tracers: usize,
    /// Tracers evicted because their idle timeout ended or a slot was needed.
    pub evicted: u64,
    /// Look-ups refused because the pool was full.
    pub rejected: u64,
    /// Tracers created above `max_tracers` because `pool.when_full` is `grow`.
    pub grown: u64,
}

/// The counts of all selectors together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Spans.
    pub spans: LedgerSnapshot,
    /// Starts and enrichments of sessions, and posted events.
    pub session_events: LedgerSnapshot,
}

/// Totals of selectors that [`Status::tracers`] no longer lists.
///
/// The registry lists the last 1,000 selectors without a tracer, and 1,000 more with losses that no
/// report contained yet. It adds the counts of older ones to these totals. They contain only data
/// that was delivered or dropped. Together with the listed selectors, they count all data that the
/// registry ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedTotals {
    /// Number of evicted selectors. A selector evicted twice counts twice.
    pub names: u64,
    /// Ledger of their spans.
    pub spans: LedgerSnapshot,
    /// Ledger of the starts and enrichments of their sessions.
    pub session_events: LedgerSnapshot,
    /// Values that redaction changed or dropped.
    #[serde(default)]
    pub redacted: u64,
}

/// Status of one selector. Combines its pooled tracer, its dedicated tracers and its former
/// tracers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TracerStatus {
    /// The selector.
    pub selector: Selector,
    /// Number of its tracers, including dedicated ones.
    pub tracers: usize,
    /// Whether sending is [paused](crate::TracerRegistry::pause).
    pub paused: bool,
    /// Whether its data was [erased](crate::TracerRegistry::purge), so that it takes no more.
    #[serde(default)]
    pub erased: bool,
    /// Destination of its newest tracer. `None` if it has no tracer.
    pub destination: Option<DestinationStatus>,
    /// Tracers that get copies of the spans of its newest tracer (`also`).
    #[serde(default)]
    pub copies: Vec<CopyStatus>,
    /// Ledger of its spans.
    pub spans: LedgerSnapshot,
    /// Estimated memory of its queued and in-flight spans and session events, in bytes.
    pub queued_bytes: usize,
    /// End time of the oldest span in the queue, or the time when it was queued if a client encoded
    /// it.
    #[serde(with = "wall_time::optional")]
    pub oldest_queued: Option<SystemTime>,
    /// Bytes on disk of its data that is not in memory.
    #[serde(default)]
    pub spooled_bytes: u64,
    /// When the oldest of that was accepted, as far as known.
    #[serde(with = "wall_time::optional")]
    pub oldest_spooled: Option<SystemTime>,
    /// Ledger of the starts and enrichments of its sessions.
    pub session_events: LedgerSnapshot,
    /// The oldest request in progress. `None` if none is in progress.
    pub oldest_request: Option<RequestStatus>,
    /// The last error of a request. Kept after later requests succeed; then [`ErrorsStatus::over`]
    /// in [`errors`](Self::errors) is set. If requests with spans and requests with session events
    /// both failed, this is the error of the kind that still fails.
    pub last_error: Option<ExportError>,
    /// Time and number of the consecutive failures up to `last_error`. `None` if no request failed.
    pub errors: Option<ErrorsStatus>,
    /// The last span that the receiver refused when it was sent alone. `None` if there was none.
    pub last_refused_span: Option<RefusedSpan>,
    /// When the receiver last accepted data.
    #[serde(with = "wall_time::optional")]
    pub last_delivery: Option<SystemTime>,
    /// What redaction changed in its data.
    #[serde(default)]
    pub redaction: RedactionStatus,
    /// State of the breakers of its newest tracer.
    pub breakers: Breakers,
    /// How much of each limit of its newest tracer's quota is used. All selectors of a tenant share
    /// what it has used.
    #[serde(default)]
    pub quota: Vec<QuotaUse>,
    /// Key of its newest tracer. `None` if it has no tracer.
    pub key: Option<KeyStatus>,
}

impl Status {
    /// Returns the status of one selector. `None` if it never had a tracer, or if its counts have
    /// moved to `evicted_totals`.
    pub fn tracer(&self, selector: &Selector) -> Option<&TracerStatus> {
        self.tracers.iter().find(|tracer| tracer.selector == *selector)
    }
}
