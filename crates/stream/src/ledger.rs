//! The ledger of all replicas: what was published, and where it is.
//!
//! Published items are those of the running sums of all processes. Each of them is finished (delivered
//! or counted as dropped by a lane), dropped by the stream, or waits: in a stream, or with a sender.
//! The books of the partitions are written before a message is acknowledged, so the counts survive
//! any replica.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

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

impl ClusterLedger {
    /// Adds the books of a partition, and the totals of the processes that published there.
    pub(crate) fn add(&mut self, books: &Books, totals: &BTreeMap<Uuid, Totals>) {
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
