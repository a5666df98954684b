//! The ledger of all replicas: what was published, and where it is.
//!
//! Published items are those of the running sums of all processes. Each of them is finished (delivered
//! or counted as dropped by a lane), dropped by the stream, or waits: in a stream, or with a sender.
//! The books of the partitions are written before a message is acknowledged, so the counts survive
//! any replica.

use std::collections::BTreeMap;

use async_nats::jetstream::kv;
use futures_util::StreamExt as _;
use serde::Serialize;
use tracer_registry_spool::Failing;
use uuid::Uuid;

use super::replicas::Report;
use super::{Cluster, failing};
use crate::books::{Books, Totals};

/// The ledger of all replicas. Items are spans and session events.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClusterLedger {
    /// Items with an acknowledgement of the servers. With `unconfirmed`, it is the sum of `finished`,
    /// `waiting`, `buffer_lost`, `expired` and `purged`.
    pub published: u64,
    /// Items that were withdrawn, and sent nevertheless: the servers had them, and their
    /// acknowledgement came too late. While items of their partition wait, they are not counted yet,
    /// and `waiting` is too small by them.
    pub unconfirmed: u64,
    /// Delivered, or counted as dropped by a tracer of a replica.
    pub finished: u64,
    /// In the streams, or with a sender.
    pub waiting: u64,
    /// Acknowledged by the servers, which do not have them any more: the drop reason `buffer_lost`.
    pub buffer_lost: u64,
    /// Waited for longer than the streams' bound: the drop reason `spool_expired`.
    pub expired: u64,
    /// Erased by a purge.
    pub purged: u64,
    /// Items that arrived a second time from a stream, and were sent once.
    pub duplicates: u64,
    /// Items without an acknowledgement. Their rows were kept in a local spool or refused.
    pub withdrawn: u64,
    /// Partitions, and those without books: no replica has sent from them yet.
    pub partitions: u16,
    /// Partitions that no replica has sent from yet.
    pub unowned: Vec<u16>,
    /// Replicas with a report in the last minutes.
    pub replicas: Vec<ReplicaLedger>,
}

/// What one replica reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplicaLedger {
    /// The process.
    pub process: String,
    /// Whether it takes requests.
    pub takes_requests: bool,
    /// Whether it sends.
    pub sends: bool,
    /// When it reported, in milliseconds since 1970, by its own clock.
    pub at: u64,
    /// The counts of its tracers.
    pub ledger: serde_json::Value,
}

impl Cluster {
    /// Adds up the books of all partitions.
    pub(super) async fn ledger(&self) -> Result<ClusterLedger, Failing> {
        let partitions = self.shared.options.partitions;
        let mut ledger = ClusterLedger {
            partitions,
            ..ClusterLedger::default()
        };
        let totals = self.totals().await?;
        let books = self.bucket("books").await?;
        for partition in 0..partitions {
            let value = read(&books, &partition.to_string()).await?;
            let books = value.and_then(|value| serde_json::from_slice::<Books>(&value).ok());
            if books.as_ref().is_none_or(|books| books.owner.is_none()) {
                ledger.unowned.push(partition);
            }
            let empty = BTreeMap::new();
            ledger.add(&books.unwrap_or_default(), totals.get(&partition).unwrap_or(&empty));
        }
        for (key, report) in self.reports().await? {
            let Report {
                takes_requests,
                sends,
                at,
                ledger: of_replica,
                ..
            } = report;
            ledger.replicas.push(ReplicaLedger {
                process: key.trim_start_matches("replica.").to_owned(),
                takes_requests,
                sends,
                at,
                ledger: of_replica,
            });
        }
        Ok(ledger)
    }

    /// Returns the totals of each partition's processes.
    async fn totals(&self) -> Result<BTreeMap<u16, BTreeMap<Uuid, Totals>>, Failing> {
        let bucket = self.bucket("totals").await?;
        let failed = |error: &dyn std::error::Error| failing("the totals of the stream", error);
        let mut keys = bucket.keys().await.map_err(|error| failed(&error))?;
        let mut totals = BTreeMap::<u16, BTreeMap<Uuid, Totals>>::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| failed(&error))?;
            let Some((process, partition)) = key.split_once('.') else {
                continue;
            };
            let (Ok(process), Ok(partition)) = (Uuid::try_parse(process), partition.parse()) else {
                continue;
            };
            if let Some(value) = read(&bucket, &key).await?
                && let Ok(of_process) = serde_json::from_slice(&value)
            {
                totals.entry(partition).or_default().insert(process, of_process);
            }
        }
        Ok(totals)
    }
}

impl ClusterLedger {
    /// Adds the books of a partition, and the totals of the processes that published there.
    fn add(&mut self, books: &Books, totals: &BTreeMap<Uuid, Totals>) {
        let mut published = books.published();
        for (process, totals) in totals {
            let withdrawn: u64 = totals.withdrawn.iter().map(|(_, items)| items).sum();
            self.withdrawn += withdrawn;
            // Totals are written every ten seconds.
            let of_process = published.entry(*process).or_default();
            *of_process = (*of_process).max(totals.sum).saturating_sub(withdrawn);
        }
        let published = books.forgotten + published.values().sum::<u64>();
        let finished = books.finished.iter().sum::<u64>();
        let ended = finished + books.buffer_lost + books.expired + books.erased;
        self.published += published;
        self.finished += finished;
        self.buffer_lost += books.buffer_lost;
        self.expired += books.expired;
        self.purged += books.erased;
        self.duplicates += books.duplicates;
        self.waiting += published.saturating_sub(ended);
        self.unconfirmed += ended.saturating_sub(published);
    }
}

async fn read(bucket: &kv::Store, key: &str) -> Result<Option<bytes::Bytes>, Failing> {
    let value = bucket.get(key).await;
    value.map_err(|error| failing("a bucket of the stream", &error))
}
