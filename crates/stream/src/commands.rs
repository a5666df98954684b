//! What the store asks of its tasks.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracer_registry_spool::{AppendError, Done, Failing, Kind, Limit, Purged, QueueDepth, Rest, Row, RowId, Taken};

use crate::ledger::ClusterLedger;

/// What the store asks of the publisher.
pub(crate) enum PublishCommand {
    /// Rows as `admit` returned them.
    Append(Result<Vec<Row>, AppendError>, Done<Result<Vec<RowId>, AppendError>>),
    Close(Instant, oneshot::Sender<()>),
}

/// What the store asks of the sender.
pub(crate) enum SendCommand {
    Take {
        queue: Arc<str>,
        kind: Kind,
        limit: Limit,
        done: Done<Result<Vec<Taken>, Failing>>,
    },
    Release(Vec<(RowId, Option<Rest>)>),
    Complete(Vec<RowId>),
    /// Erases what the selector covers in the partitions of this replica. Answers with these, and
    /// what they held.
    Erase(String, oneshot::Sender<(Vec<u16>, Vec<ErasedQueue>)>),
    Close(Instant, oneshot::Sender<()>),
}

/// What the store asks of the cluster.
pub(crate) enum ClusterCommand {
    Purge(String, Done<Result<Purged, Failing>>),
    Allow(String, Done<Result<bool, Failing>>),
    Ledger(Done<Result<ClusterLedger, Failing>>),
    Nudge(String, Done<Result<(), Failing>>),
    Close(oneshot::Sender<()>),
}

/// What a replica erased of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErasedQueue {
    pub(crate) queue: String,
    pub(crate) spans: u64,
    pub(crate) events: u64,
    pub(crate) span_rows: u64,
    pub(crate) event_rows: u64,
    pub(crate) bytes: u64,
}

impl From<QueueDepth> for ErasedQueue {
    fn from(depth: QueueDepth) -> Self {
        Self {
            queue: depth.queue.to_string(),
            spans: depth.spans,
            events: depth.events,
            span_rows: depth.span_rows,
            event_rows: depth.event_rows,
            bytes: depth.bytes,
        }
    }
}
