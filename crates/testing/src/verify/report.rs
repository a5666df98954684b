//! What was tried and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::check::Checked;
use super::check::finding::{Finding, FindingKind};

/// What a run of [`verify`](super::verify) came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The seed that was asked for.
    pub seed: u64,
    /// How many tracers took part.
    pub tracers: usize,
    /// How many threads ran at the same time.
    pub threads: usize,
    /// How many programs were run.
    pub rounds: u64,
    /// Operations, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// What this crate's tracers did.
    pub ours: SideReport,
    /// What was done to the registries meanwhile, where that was asked; how often what, is among the operations.
    pub chaos: Option<ChaosReport>,
    /// What plain providers did with the same programs, if that was asked.
    pub peer: Option<SideReport>,
    /// The first program that showed a deviation, made as short as could be.
    pub failure: Option<Failure>,
}

/// What the registries' pools did, which were too small on purpose, and the receiver, which refuses old keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChaosReport {
    /// Tracers that were idle, and ended.
    pub evicted: u64,
    /// Tracers that were made above the bound, because all the others were in use.
    pub grown: u64,
    /// Requests that were refused, because their key had been rotated away.
    pub refused: u64,
}

/// What was received from one subject, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SideReport {
    /// Spans that arrived.
    pub spans: u64,
    /// Sessions that were started.
    pub sessions: u64,
    /// Enrichments that were made.
    pub enrichments: u64,
    /// Requests that arrived.
    pub requests: u64,
    /// Bytes that were looked through.
    pub bytes: u64,
    /// Deviations, by kind.
    pub findings: BTreeMap<FindingKind, u64>,
    /// Time in the programs.
    pub running_seconds: f64,
    /// Time until everything was delivered.
    pub flushing_seconds: f64,
    /// Time in the checks.
    pub checking_seconds: f64,
}

/// A program that shows a deviation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The seed of the round: with it, the program is that of the first round.
    pub seed: u64,
    /// What is to be typed to see it again.
    pub command: String,
    /// What was found in the program below, or, where it shows nothing by itself, in the whole round.
    pub findings: Vec<Finding>,
    /// How many operations the shortest program has.
    pub operations: usize,
    /// Whether the shortest program shows it by itself.
    pub reproduced: bool,
    /// The shortest program as text.
    pub program: String,
}

impl VerifyReport {
    /// Whether nothing of this crate's leaked, got lost, came twice, or deviated in any other way.
    pub fn is_clean(&self) -> bool {
        self.rounds > 0 && self.ours.spans > 0 && self.ours.total() == 0
    }

    /// How many operations were run.
    pub fn total_operations(&self) -> u64 {
        self.operations.values().sum()
    }
}

impl SideReport {
    /// How many deviations of a kind there were.
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.findings.get(&kind).copied().unwrap_or(0)
    }

    /// How many deviations there were.
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

/// One line: the word, then what was counted.
impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [leaked, lost, duplicated] =
            [FindingKind::Leaked, FindingKind::Lost, FindingKind::Duplicated].map(|kind| self.ours.count(kind));
        let others = self.ours.total() - leaked - lost - duplicated;
        let word = if self.is_clean() { "isolated" } else { "NOT ISOLATED" };
        write!(
            f,
            "{word}: {leaked} leaked, {lost} lost, {duplicated} duplicated, {others} otherwise wrong in {} operations, seed {}",
            self.total_operations(),
            self.seed
        )
    }
}
