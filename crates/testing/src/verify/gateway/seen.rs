//! What the processes of a program reported, and what had arrived when they ended.

use std::collections::BTreeMap;

use super::super::check::finding::FindingKind;
use super::super::program::operation::OpId;
use super::check::counts::{Counts, counts};
use super::cluster::Ledger;
use tracer_registry_collector::LocalCollector;

/// What the processes of a program reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Delivered spans, by selector.
    pub(super) delivered: BTreeMap<String, u64>,
    /// Dropped spans, by selector. Targets of copies may drop some: no flush waits for them.
    pub(super) dropped: BTreeMap<String, u64>,
    /// Reports of dropped or pending spans and session events, but those of targets that only
    /// dropped spans.
    pub(super) incomplete: Vec<String>,
    /// Spans and session events that the gateway left on disk at the end.
    pub(super) spooled: u64,
    /// Whether a gateway ended with the exit code for lost data.
    pub(super) lost: bool,
    pub(super) restarts: u64,
    pub(super) kills: u64,
    /// Kills of servers of the stream.
    pub(super) server_kills: u64,
    /// What the ledger of all replicas added for the program, at its end.
    pub(super) ledger: Option<Ledger>,
    pub(super) cuts: Vec<Cut>,
    /// What had arrived before each cut that has not ended yet.
    pub(super) open_cuts: Vec<Counts>,
    pub(super) wrong: Vec<Wrong>,
}

/// What had arrived around a kill, or around a stop that left data on disk. It ends when the
/// gateway runs again. With a stream, others may send what was in flight: it ends with the program.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Before anything that was in flight.
    pub(super) before: Counts,
    pub(super) after: Counts,
}

/// A deviation of a process.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) kind: FindingKind,
    pub(super) op: Option<u32>,
    pub(super) expected: &'static str,
    pub(super) seen: String,
}

impl Seen {
    /// Ends all cuts: what has arrived until now may arrive again.
    pub(super) fn end_cuts(&mut self, collector: &LocalCollector) {
        if self.open_cuts.is_empty() {
            return;
        }
        let after = counts(collector);
        let ended = self.open_cuts.drain(..).map(|before| Cut {
            before,
            after: after.clone(),
        });
        self.cuts.extend(ended);
    }

    /// Returns how often a span or a request to the session API was in flight to a member at a cut.
    pub(super) fn repeats(&self, name: &str, op: OpId) -> u64 {
        let key = (name.to_owned(), op);
        let in_flight = self
            .cuts
            .iter()
            .filter(|cut| cut.after.get(&key) > cut.before.get(&key));
        in_flight.count() as u64
    }
}

/// A line of the final report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reported<'l> {
    pub(super) selector: &'l str,
    /// Spans.
    pub(super) delivered: u64,
    /// Spans and session events that are on disk.
    pub(super) spooled: u64,
    /// Spans that were dropped.
    pub(super) dropped: u64,
    /// Whether session events were dropped, or something is pending.
    pub(super) has_more: bool,
}

impl<'l> Reported<'l> {
    pub(super) fn of(line: &'l str) -> Option<Self> {
        let (selector, rest) = line.split_once(": ")?;
        let rest = rest.split_once("; last error: ").map_or(rest, |(rest, _)| rest);
        let mut facts = rest.split(", ");
        let delivered = facts.next()?;
        let count = |fact: &str, ends: [&str; 2]| {
            let count = ends.iter().find_map(|end| fact.strip_suffix(end))?;
            count.parse::<u64>().ok()
        };
        let mut reported = Self {
            selector,
            delivered: count(delivered, [" spans delivered", " span delivered"])?,
            spooled: 0,
            dropped: 0,
            has_more: false,
        };
        for fact in facts {
            let spooled = fact.strip_suffix(" spooled").and_then(|fact| {
                let events = count(fact, [" session events", " session event"]);
                events.or_else(|| fact.parse().ok())
            });
            let dropped = fact
                .split_once(" dropped (")
                .and_then(|(count, _)| count.parse::<u64>().ok());
            reported.spooled += spooled.unwrap_or_default();
            reported.dropped += dropped.unwrap_or_default();
            reported.has_more |= spooled.is_none() && dropped.is_none();
        }
        Some(reported)
    }
}
