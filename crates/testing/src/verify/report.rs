//! Result of `verify`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::check::Checked;
use super::check::finding::{Finding, FindingKind};

/// Result of [`verify`](super::verify).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Seed from the options.
    pub seed: u64,
    /// Number of tracers.
    pub tracers: usize,
    /// Number of concurrent threads.
    pub threads: usize,
    /// Number of programs.
    pub rounds: u64,
    /// Number of operations, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Result for this crate's tracers.
    pub ours: SideReport,
    /// Effects of the disturbances, if [`Verify::chaos`](super::Verify::chaos) is set. The
    /// disturbances themselves are counted in `operations`.
    pub chaos: Option<ChaosReport>,
    /// What happened on the way, if [`Verify::gateway`](super::Verify::gateway) is set.
    pub gateway: Option<GatewayReport>,
    /// What the ledger of all replicas counted, if the programs ran on several.
    pub cluster: Option<ClusterReport>,
    /// Result for plain providers, if [`Verify::peer`](super::Verify::peer) is set.
    pub peer: Option<SideReport>,
    /// The first program with a deviation, shortened.
    pub failure: Option<Failure>,
}

/// Effects of the disturbances: the pools are too small on purpose, and the receiver refuses old
/// keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChaosReport {
    /// Idle tracers that were evicted.
    pub evicted: u64,
    /// Tracers that were created above the pool limit, because all others were in use.
    pub grown: u64,
    /// Requests that were refused because of an old key.
    pub refused: u64,
}

/// What happened between the clients of a gateway and its receiver. None of it is a deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GatewayReport {
    /// Restarts of the gateway.
    pub restarts: u64,
    /// Kills of the gateway, each followed by a start.
    pub kills: u64,
    /// Spans and session events that arrived again because they were in flight at a kill, or at a
    /// restart that left data on disk.
    pub repeated: u64,
    /// Answers that the gateway had no room, after which the client sent the request again.
    pub no_room: u64,
    /// Requests without an answer, which the client sent again.
    pub unanswered: u64,
    /// Requests that the receiver refused because of an old key.
    pub refused_keys: u64,
    /// Requests that another fault of the receiver applied to.
    pub receiver_faults: u64,
}

impl GatewayReport {
    pub(super) fn add(&mut self, other: &Self) {
        self.restarts += other.restarts;
        self.kills += other.kills;
        self.repeated += other.repeated;
        self.no_room += other.no_room;
        self.unanswered += other.unanswered;
        self.refused_keys += other.refused_keys;
        self.receiver_faults += other.receiver_faults;
    }
}

/// Kills of servers, and counts of the ledger of all replicas that shared a stream. None of them is
/// a deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterReport {
    /// Kills of servers, each followed by a start.
    pub server_kills: u64,
    /// Spans and session events that the servers acknowledged.
    pub published: u64,
    /// Those that the servers stored without an acknowledgement in time.
    pub unconfirmed: u64,
    /// Those that arrived a second time from the stream, and were sent once.
    pub duplicates: u64,
}

impl ClusterReport {
    pub(super) fn add(&mut self, other: &Self) {
        self.server_kills += other.server_kills;
        self.published += other.published;
        self.unconfirmed += other.unconfirmed;
        self.duplicates += other.duplicates;
    }
}

/// Data that was received from one subject, and its deviations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SideReport {
    /// Received spans.
    pub spans: u64,
    /// Started sessions.
    pub sessions: u64,
    /// Enrichments of sessions.
    pub enrichments: u64,
    /// Received requests.
    pub requests: u64,
    /// Bytes that were searched for canaries and keys.
    pub bytes: u64,
    /// Number of deviations, by kind.
    pub findings: BTreeMap<FindingKind, u64>,
    /// Time to run the programs.
    pub running_seconds: f64,
    /// Time to deliver everything.
    pub flushing_seconds: f64,
    /// Time to check the results.
    pub checking_seconds: f64,
}

/// A program with a deviation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// Seed that generates the failing program as the first one of a run.
    pub seed: u64,
    /// Command that reproduces the failure.
    pub command: String,
    /// Deviations of the shortened program, or of the original one if it could not be reproduced.
    pub findings: Vec<Finding>,
    /// Number of operations in `program`.
    pub operations: usize,
    /// Whether the deviation occurred again on new registries. If not, `program` is the original
    /// one.
    pub reproduced: bool,
    /// Text of the program.
    pub program: String,
}

impl VerifyReport {
    /// Returns whether data was received from this crate's tracers, without any deviation.
    pub fn is_clean(&self) -> bool {
        self.rounds > 0 && self.ours.spans > 0 && self.ours.total() == 0
    }

    /// Returns the number of operations of all kinds.
    pub fn total_operations(&self) -> u64 {
        self.operations.values().sum()
    }
}

impl SideReport {
    /// Returns the number of deviations of a kind.
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.findings.get(&kind).copied().unwrap_or(0)
    }

    /// Returns the number of deviations of all kinds.
    pub fn total(&self) -> u64 {
        self.findings.values().sum()
    }

    pub(super) fn add(&mut self, checked: &Checked, took: [Duration; 3]) {
        self.spans += checked.spans;
        self.sessions += checked.sessions;
        self.enrichments += checked.enrichments;
        self.requests += checked.requests;
        self.bytes += checked.bytes;
        for (kind, count) in &checked.findings.counts {
            *self.findings.entry(*kind).or_default() += count;
        }
        let [running, flushing, checking] = took.map(|took| took.as_secs_f64());
        self.running_seconds += running;
        self.flushing_seconds += flushing;
        self.checking_seconds += checking;
    }
}

/// Formats the summary as one line.
impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [leaked, lost, duplicated] =
            [FindingKind::Leaked, FindingKind::Lost, FindingKind::Duplicated].map(|kind| self.ours.count(kind));
        let others = self.ours.total() - leaked - lost - duplicated;
        let verdict = if self.is_clean() { "isolated" } else { "NOT ISOLATED" };
        write!(
            f,
            "{verdict}: {leaked} leaked, {lost} lost, {duplicated} duplicated, {others} other deviations in {} operations, seed {}",
            self.total_operations(),
            self.seed
        )
    }
}
