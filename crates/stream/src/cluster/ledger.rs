//! Reads what the ledger of all replicas adds up.

use std::collections::BTreeMap;

use async_nats::jetstream::kv;
use futures_util::StreamExt as _;
use tracer_registry_spool::Failing;
use uuid::Uuid;

use super::context::{Cluster, failing};
use super::replicas::Report;
use crate::books::{Books, Totals};
use crate::ledger::{ClusterLedger, ReplicaLedger};

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

async fn read(bucket: &kv::Store, key: &str) -> Result<Option<bytes::Bytes>, Failing> {
    let value = bucket.get(key).await;
    value.map_err(|error| failing("a bucket of the stream", &error))
}
