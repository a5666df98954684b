//! What this process has published, for the replicas that look for lost messages.
//!
//! The bucket `totals` has one key for each process and partition: `<process>.<partition>`. Its value
//! is [`Totals`] as JSON.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::kv;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use uuid::Uuid;

use crate::books::Totals;
use crate::connection::Connection;

/// How often changed totals are written.
const PERIOD: Duration = Duration::from_secs(10);
/// When to write again, after an error or for withdrawn numbers.
const SOON: Duration = Duration::from_millis(200);
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Decides when to write totals.
pub(crate) struct TotalsWriter {
    connection: Connection,
    bucket_name: String,
    process: Uuid,
    bucket: Option<kv::Store>,
    changed: BTreeSet<u16>,
    due: Instant,
    /// Numbers were withdrawn that are not written.
    is_urgent: bool,
    is_writing: bool,
}

/// The end of a write: the bucket, if it was found, and the partitions that were not written.
pub(crate) struct Written {
    bucket: Option<kv::Store>,
    failed: BTreeSet<u16>,
}

impl TotalsWriter {
    pub(crate) fn new(connection: Connection, bucket_name: String, process: Uuid, now: Instant) -> Self {
        Self {
            connection,
            bucket_name,
            process,
            bucket: None,
            changed: BTreeSet::new(),
            due: now + PERIOD,
            is_urgent: false,
            is_writing: false,
        }
    }

    /// Records that the totals of a partition have changed. Withdrawn numbers are written soon.
    pub(crate) fn note_change(&mut self, partition: u16, is_withdrawal: bool, now: Instant) {
        self.changed.insert(partition);
        if is_withdrawal {
            self.is_urgent = true;
            self.due = self.due.min(now + SOON);
        }
    }

    /// Whether to call [`write`](Self::write) now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_writing && !self.changed.is_empty() && self.due <= now
    }

    /// Writes the totals of all changed partitions.
    pub(crate) fn write(&mut self, totals: impl Fn(u16) -> Totals, is_last: bool) -> BoxFuture<'static, Written> {
        self.is_writing = true;
        self.is_urgent = false;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let values: Vec<(u16, Totals)> = std::mem::take(&mut self.changed)
            .into_iter()
            .map(|partition| {
                let totals = Totals {
                    at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                    ended: is_last,
                    ..totals(partition)
                };
                (partition, totals)
            })
            .collect();
        let (context, bucket_name) = (self.connection.context.clone(), self.bucket_name.clone());
        let (process, mut bucket) = (self.process.simple().to_string(), self.bucket.take());
        Box::pin(async move {
            let mut failed = BTreeSet::new();
            if bucket.is_none() {
                let found = timeout(WRITE_TIMEOUT, context.get_key_value(bucket_name)).await;
                bucket = found.ok().and_then(Result::ok);
            }
            for (partition, totals) in values {
                // After one failure, the others would only wait for their timeouts.
                let is_written = match (&bucket, serde_json::to_vec(&totals)) {
                    (Some(bucket), Ok(value)) if failed.is_empty() => {
                        let put = bucket.put(format!("{process}.{partition}"), value.into());
                        matches!(timeout(WRITE_TIMEOUT, put).await, Ok(Ok(_)))
                    }
                    _ => false,
                };
                if !is_written {
                    failed.insert(partition);
                }
            }
            Written { bucket, failed }
        })
    }

    /// Records the end of a write.
    pub(crate) fn note_written(&mut self, written: Written, now: Instant) {
        self.is_writing = false;
        let is_soon = self.is_urgent || !written.failed.is_empty();
        self.due = now + if is_soon { SOON } else { PERIOD };
        self.bucket = written.bucket;
        self.changed.extend(written.failed);
    }

    /// Marks all these partitions as changed, for the last write.
    pub(crate) fn end(&mut self, partitions: impl Iterator<Item = u16>) {
        self.changed.extend(partitions);
    }
}
