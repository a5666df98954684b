//! What a status says.

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
    /// Where the running configuration comes from.
    pub configuration: ConfigurationStatus,
    /// In the order of their selectors.
    pub tracers: Vec<TracerStatus>,
    /// The pool of tracers.
    pub pool: PoolStatus,
    /// The books of names that are no longer remembered.
    pub evicted_totals: EvictedTotals,
    /// What code outside any scope made, and what was not recorded.
    pub unrouted: UnroutedStatus,
    /// Spans of work that goes on long after the request in which it began.
    pub stale_scope_spans: StaleScopeStatus,
    /// What was left out of the context that requests and links carry.
    pub propagation: PropagationStatus,
}

/// The pool of tracers. Counts are since the registry was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Tracers in the pool, with those that are being made and without dedicated ones.
    pub tracers: usize,
    /// The bound of `tracers`, `pool.max_tracers`.
    pub max_tracers: usize,
    /// Tracers that were evicted because they were idle: for too long, or when room was needed.
    pub evicted: u64,
    /// Look-ups that got no tracer because there was no room.
    pub rejected: u64,
    /// Tracers that were made above `max_tracers`, because `pool.when_full` is `grow`.
    pub grown: u64,
}

/// The books of names without a tracer that are no longer remembered by name, because too many others came after them. All of it is
/// settled. With the books of the names that are remembered this is everything that was ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedTotals {
    /// How often a name was forgotten; one that came back and was forgotten again counts twice.
    pub names: u64,
    /// What became of their spans.
    pub spans: LedgerSnapshot,
    /// What became of the starts and enrichments of their sessions.
    pub session_events: LedgerSnapshot,
}

/// The books of one selector at one moment: its tracer, dedicated ones, and those that are gone, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TracerStatus {
    /// What the tracer is looked up by.
    pub selector: Selector,
    /// How many tracers it has, with dedicated ones.
    pub tracers: usize,
    /// Where its spans go; of the newest tracer, if it has several. `None` if it has none.
    pub destination: Option<DestinationStatus>,
    /// What became of its spans.
    pub spans: LedgerSnapshot,
    /// Memory that its queued and in-flight spans and session events take, in bytes, estimated.
    pub queued_bytes: usize,
    /// When the oldest span in the queue ended.
    #[serde(with = "wall_time::optional")]
    pub oldest_queued: Option<SystemTime>,
    /// What became of the starts and enrichments of its sessions.
    pub session_events: LedgerSnapshot,
    /// The request that is under way for the longest. `None` if none is.
    pub oldest_request: Option<RequestStatus>,
    /// The last thing that went wrong. Stays until something else does; [`errors`](Self::errors) says whether it is over. If both spans and
    /// session events had an error, one that goes on comes before one that is over.
    pub last_error: Option<ExportError>,
    /// The row of failures whose last is `last_error`: when, how often, whether it is over. `None` if there was none.
    pub errors: Option<ErrorsStatus>,
    /// The last span that the receiver refused by itself. `None` if there was none.
    pub last_refused_span: Option<RefusedSpan>,
    /// When the receiver last accepted something.
    #[serde(with = "wall_time::optional")]
    pub last_delivery: Option<SystemTime>,
    /// Whether its breakers let requests through; of the newest tracer, if it has several.
    pub breakers: Breakers,
    /// Its key; of the newest tracer, if it has several. `None` if it has none.
    pub key: Option<KeyStatus>,
}

impl Status {
    /// Returns the books of one selector, if it is remembered: it has a tracer, or was among the last that had one.
    pub fn tracer(&self, selector: &Selector) -> Option<&TracerStatus> {
        self.tracers.iter().find(|tracer| tracer.selector == *selector)
    }
}
