//! Types of a status.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::context::{PropagationStatus, StaleScopeStatus};
use crate::export::{Breakers, DestinationStatus, ErrorsStatus, ExportError, KeyStatus, RefusedSpan, RequestStatus};
use crate::ledger::LedgerSnapshot;
use crate::registry::reload::ConfigurationStatus;
use crate::registry::unrouted::UnroutedStatus;
use crate::selector::Selector;
use crate::util::wall_time;

/// All tracers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// State of the running configuration.
    pub configuration: ConfigurationStatus,
    /// Sorted by selector.
    pub tracers: Vec<TracerStatus>,
    /// The pool of tracers.
    pub pool: PoolStatus,
    /// Totals of selectors that are no longer listed.
    pub evicted_totals: EvictedTotals,
    /// Spans and events that were not recorded because no tracer was in scope.
    pub unrouted: UnroutedStatus,
    /// Spans of work that continues long after its request.
    pub stale_scope_spans: StaleScopeStatus,
    /// Data dropped from outgoing requests, parents and links.
    pub propagation: PropagationStatus,
}

/// The pool of tracers. Counts are since the registry was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Tracers in the pool, including those being created and excluding dedicated ones.
    pub tracers: usize,
    /// Limit of `tracers`: `pool.max_tracers`.
    pub max_tracers: usize,
    /// Tracers evicted after the idle timeout or because a slot was needed.
    pub evicted: u64,
    /// Look-ups refused because the pool was full.
    pub rejected: u64,
    /// Tracers created above `max_tracers` because `pool.when_full` is `grow`.
    pub grown: u64,
}

/// Totals of selectors without a tracer that are no longer listed, because too many others came
/// after them. Contains only settled data. Together with the listed selectors, this is all data
/// ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedTotals {
    /// Number of evicted selectors. A selector evicted twice counts twice.
    pub names: u64,
    /// Ledger of their spans.
    pub spans: LedgerSnapshot,
    /// Ledger of the starts and enrichments of their sessions.
    pub session_events: LedgerSnapshot,
}

/// State of one selector at one moment: its pooled tracer, its dedicated ones, and those that are
/// gone, combined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TracerStatus {
    /// The selector.
    pub selector: Selector,
    /// Number of its tracers, including dedicated ones.
    pub tracers: usize,
    /// Destination of its spans, from its newest tracer. `None` without a tracer.
    pub destination: Option<DestinationStatus>,
    /// Ledger of its spans.
    pub spans: LedgerSnapshot,
    /// Estimated memory of its queued and in-flight spans and session events, in bytes.
    pub queued_bytes: usize,
    /// End time of the oldest span in the queue.
    #[serde(with = "wall_time::optional")]
    pub oldest_queued: Option<SystemTime>,
    /// Ledger of the starts and enrichments of its sessions.
    pub session_events: LedgerSnapshot,
    /// The request in progress for the longest time. `None` if there is none.
    pub oldest_request: Option<RequestStatus>,
    /// The last error. Stays until the next one; [`errors`](Self::errors) shows whether it is over.
    /// If both spans and session events had an error, a current error takes precedence over one
    /// that is over.
    pub last_error: Option<ExportError>,
    /// The series of failures that ended with `last_error`: when, how often, and whether it is
    /// over. `None` if there was none.
    pub errors: Option<ErrorsStatus>,
    /// The last span that the receiver refused individually. `None` if there was none.
    pub last_refused_span: Option<RefusedSpan>,
    /// When the receiver last accepted data.
    #[serde(with = "wall_time::optional")]
    pub last_delivery: Option<SystemTime>,
    /// State of its breakers, from its newest tracer.
    pub breakers: Breakers,
    /// Its key, from its newest tracer. `None` without a tracer.
    pub key: Option<KeyStatus>,
}

impl Status {
    /// Returns the state of one selector, if it is listed: it has a tracer, or was among the last
    /// that had one.
    pub fn tracer(&self, selector: &Selector) -> Option<&TracerStatus> {
        self.tracers.iter().find(|tracer| tracer.selector == *selector)
    }
}
