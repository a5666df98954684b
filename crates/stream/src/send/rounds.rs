//! Heartbeats, and claims of partitions that no live sender has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::Store;
use tokio::time::timeout;
use uuid::Uuid;

use super::balance::{Heartbeat, Senders};
use super::direct;
use super::lease::{Lease, LeaseError};
use super::partition::state::Claimed;
use crate::connection::Connection;
use crate::shared::Shared;

/// What a sender does once a second.
pub(crate) struct Rounds {
    connection: Connection,
    shared: Arc<Shared>,
    buckets: Option<Buckets>,
    senders: Senders,
    heartbeat: Heartbeat,
    written_at: Option<Instant>,
    is_failing: bool,
}

/// A round that ended.
pub(crate) struct Round {
    pub(crate) rounds: Rounds,
    pub(crate) claimed: Vec<Claimed>,
    pub(crate) give_up: Vec<u16>,
}

#[derive(Clone)]
struct Buckets {
    books: Store,
    replicas: Store,
}

/// How often a heartbeat is written.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the servers may take to answer. So short that a sender writes soon after they are there
/// again, before others count it as dead.
const ANSWER: Duration = Duration::from_secs(1);

impl Rounds {
    pub(crate) fn new(connection: &Connection, shared: &Arc<Shared>) -> Self {
        Self {
            connection: connection.clone(),
            shared: Arc::clone(shared),
            buckets: None,
            senders: Senders::default(),
            heartbeat: Heartbeat::default(),
            written_at: None,
            is_failing: false,
        }
    }

    /// Writes a heartbeat if it is time, looks at those of the others, and claims what is free. `own`
    /// are partitions that this process keeps, `busy` those that it gives up.
    pub(crate) async fn next(mut self, own: BTreeSet<u16>, busy: Vec<u16>) -> Round {
        let (mut claimed, mut give_up) = (Vec::new(), Vec::new());
        let result = self.round(own, &busy, &mut claimed, &mut give_up).await;
        let was_failing = std::mem::replace(&mut self.is_failing, result.is_err());
        match result {
            Err(error) if !was_failing => tracing::warn!(%error, "cannot share the partitions with other senders"),
            Ok(()) if was_failing => tracing::info!("shares the partitions with other senders again"),
            _ => {}
        }
        Round {
            rounds: self,
            claimed,
            give_up,
        }
    }

    async fn round(
        &mut self,
        own: BTreeSet<u16>,
        busy: &[u16],
        claimed: &mut Vec<Claimed>,
        give_up: &mut Vec<u16>,
    ) -> Result<(), async_nats::Error> {
        let Buckets { books, replicas } = self.buckets().await?;
        let named = own.iter().chain(busy).copied().collect();
        let started = Instant::now();
        let values = self.exchange(&replicas, named).await;
        let now = Instant::now();
        if values.is_err() {
            self.senders.forgive(started, now);
        }
        let values = values?;
        let newest = values.iter().map(|value| value.at).max();
        let heartbeats = values.iter().filter_map(|value| {
            let process = Uuid::try_parse(value.key.strip_prefix("sender.")?).ok()?;
            let heartbeat = serde_json::from_slice(&value.body).ok()?;
            let age = newest?.duration_since(value.at).unwrap_or_default();
            (process != self.shared.process).then_some((process, (heartbeat, age)))
        });
        let heartbeats: BTreeMap<Uuid, (Heartbeat, Duration)> = heartbeats.collect();
        self.senders.note(heartbeats, now);
        let partitions = self.shared.options.partitions;
        let preferred = u16::try_from(self.shared.process.as_u128() & 0xffff).unwrap_or_default();
        let plan = self.senders.plan(&own, partitions, preferred, now);
        *give_up = plan.give_up;
        for partition in plan.claim.into_iter().filter(|partition| !busy.contains(partition)) {
            let claimed_at = Instant::now();
            let (found, revision) = Lease::look(&books, partition).await?;
            let owner = found.owner.filter(|owner| *owner != self.shared.process);
            if !self.senders.is_free(partition, owner, revision, claimed_at) {
                continue;
            }
            match Lease::claim(&books, partition, self.shared.process, (found, revision)).await {
                Ok((lease, books)) => {
                    tracing::debug!(partition, from = ?owner, "takes a partition over");
                    claimed.push(Claimed {
                        partition,
                        lease,
                        books,
                        since: claimed_at,
                    });
                }
                // Another sender was faster.
                Err(LeaseError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !claimed.is_empty() {
            // The others shall know.
            self.written_at = None;
            let claimed = claimed.iter().map(|claimed| claimed.partition);
            let named = own.iter().chain(busy).copied().chain(claimed).collect();
            self.beat(&replicas, named).await?;
        }
        Ok(())
    }

    /// Writes a heartbeat if it is time, and reads those of all.
    async fn exchange(
        &mut self,
        replicas: &Store,
        named: BTreeSet<u16>,
    ) -> Result<Vec<direct::Value>, async_nats::Error> {
        self.beat(replicas, named).await?;
        let values = direct::values(&self.connection.client, &replicas.name, "sender.*");
        Ok(timeout(ANSWER, values).await??)
    }

    async fn buckets(&mut self) -> Result<Buckets, async_nats::Error> {
        if let Some(buckets) = &self.buckets {
            return Ok(buckets.clone());
        }
        let (context, names) = (&self.connection.context, &self.shared.names);
        let buckets = Buckets {
            books: context.get_key_value(names.bucket("books")).await?,
            replicas: context.get_key_value(names.bucket("replicas")).await?,
        };
        Ok(self.buckets.insert(buckets).clone())
    }

    async fn beat(&mut self, replicas: &Store, partitions: BTreeSet<u16>) -> Result<(), async_nats::Error> {
        let is_due = self.written_at.is_none_or(|at| at.elapsed() >= HEARTBEAT);
        if !is_due && self.heartbeat.partitions == partitions {
            return Ok(());
        }
        self.heartbeat.beat += 1;
        self.heartbeat.partitions = partitions;
        let started = Instant::now();
        let put = replicas.put(self.key(), serde_json::to_vec(&self.heartbeat)?.into());
        timeout(ANSWER, put).await??;
        self.written_at = Some(started);
        Ok(())
    }

    /// Writes that this sender ends, for the others.
    pub(crate) async fn leave(self, deadline: Instant) {
        if let Some(Buckets { replicas, .. }) = &self.buckets {
            let _ = tokio::time::timeout_at(deadline.into(), replicas.delete(self.key())).await;
        }
    }

    fn key(&self) -> String {
        format!("sender.{}", self.shared.process.simple())
    }
}
