//! Replicas that live, what they report, and nudges to read a key again.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracer_registry_spool::Failing;

use super::context::{Cluster, again, failing};
use crate::layout::names::replica_key;
use crate::options::Role;

/// Time between two reports of a replica.
const INTERVAL: Duration = Duration::from_secs(2);

/// A replica without a new report for this long is gone.
const DEAD_AFTER: Duration = Duration::from_secs(6);

/// How long a nudge waits for the servers.
const NUDGE: Duration = Duration::from_secs(5);

/// Longest selector of a nudge, in bytes.
const MAX_NUDGE: usize = 1024;

/// What a replica reports, under `replica.<process>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Grows with each report.
    pub(crate) beat: u64,
    pub(crate) takes_requests: bool,
    pub(crate) sends: bool,
    /// When it was written, in milliseconds since 1970, by the clock of the replica.
    pub(crate) at: u64,
    /// The replica's ledger.
    pub(crate) ledger: serde_json::Value,
}

/// The reports of other replicas, with the times at which they changed.
#[derive(Default)]
struct Seen(HashMap<String, (u64, Instant)>);

impl Seen {
    /// Notes a report. Returns whether its replica lives.
    fn note(&mut self, key: &str, beat: u64, now: Instant) -> bool {
        let known = self.0.entry(key.to_owned()).or_insert((beat, now));
        if known.0 != beat {
            *known = (beat, now);
        }
        now.duration_since(known.1) < DEAD_AFTER
    }
}

impl Report {
    fn new(beat: u64, role: Role, ledger: serde_json::Value) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            beat,
            takes_requests: role.takes_requests(),
            sends: role.sends(),
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            ledger,
        }
    }
}

impl Cluster {
    /// Reports this replica, and counts those that take requests.
    pub(super) async fn report(&self) {
        let (mut beat, mut seen) = (0, Seen::default());
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beat += 1;
            match self.report_once(beat, &mut seen).await {
                Ok(live) => (self.shared.options.hooks.live_replicas)(live),
                Err(error) => tracing::debug!("{error}"),
            }
        }
    }

    async fn report_once(&self, beat: u64, seen: &mut Seen) -> Result<u32, Failing> {
        let options = &self.shared.options;
        let bucket = self.bucket("replicas").await?;
        let failed = |error: &dyn std::error::Error| failing("the replicas of the stream", error);
        let report = Report::new(beat, options.role, (options.hooks.ledger)());
        let value = serde_json::to_vec(&report).unwrap_or_default();
        let own = replica_key(self.shared.process);
        bucket.put(&own, value.into()).await.map_err(|error| failed(&error))?;
        let mut live = u32::from(options.role.takes_requests());
        for (key, report) in self.reports().await? {
            if key != own && seen.note(&key, report.beat, Instant::now()) && report.takes_requests {
                live += 1;
            }
        }
        Ok(live.max(1))
    }

    /// Returns the last report of each replica, by its key.
    pub(super) async fn reports(&self) -> Result<Vec<(String, Report)>, Failing> {
        let bucket = self.bucket("replicas").await?;
        let failed = |error: &dyn std::error::Error| failing("the replicas of the stream", error);
        let mut keys = bucket.keys().await.map_err(|error| failed(&error))?;
        let mut reports = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| failed(&error))?;
            if !key.starts_with("replica.") {
                continue;
            }
            let value = bucket.get(&key).await.map_err(|error| failed(&error))?;
            if let Some(report) = value.and_then(|value| serde_json::from_slice(&value).ok()) {
                reports.push((key, report));
            }
        }
        Ok(reports)
    }

    /// Makes all replicas read a key again.
    pub(super) async fn nudge(&self, selector: &str) -> Result<(), Failing> {
        let client = &self.connection.client;
        let failed = |error: &dyn std::error::Error| failing("a nudge", error);
        let sent = client.publish(self.shared.names.nudges(), selector.to_owned().into());
        sent.await.map_err(|error| failed(&error))?;
        // A flush waits for a connection without an end.
        let flushed = timeout(NUDGE, client.flush()).await;
        flushed.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    /// Passes nudges on.
    pub(super) async fn watch_nudges(&self) {
        again(async || {
            let nudges = self.connection.client.subscribe(self.shared.names.nudges()).await;
            let mut nudges = nudges.map_err(|error| failing("nudges", &error))?;
            while let Some(message) = nudges.next().await {
                let selector = str::from_utf8(&message.payload).ok();
                if let Some(selector) = selector.filter(|selector| selector.len() <= MAX_NUDGE) {
                    (self.shared.options.hooks.nudged)(selector);
                }
            }
            Ok(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_lives_as_long_as_its_report_changes() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(seen.note("replica.a", 1, at(0)));
        assert!(seen.note("replica.a", 1, at(5)));
        assert!(!seen.note("replica.a", 1, at(6)));
        assert!(seen.note("replica.a", 2, at(7)));
    }
}
