//! What a flush or a shutdown tells the caller: per tracer, what was delivered, what was not, and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::counted_lane::{Failures, Pending};
use super::eviction::EvictedLedgers;
use crate::export::ExportError;
use crate::ledger::{DropReason, Ledgers};
use crate::selector::Selector;

/// What a report of a fork says.
const FORKED: &str = "nothing was sent: the process was forked after the registry was made";

/// What became of all tracers' spans since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a report says what was not delivered"]
#[non_exhaustive]
pub struct Report {
    /// By tracer, in the order of their selectors.
    pub tracers: Vec<TracerReport>,
    /// Of names that are no longer remembered, together.
    pub evicted_totals: EvictedReport,
    /// The process is a fork of the one that made the registry: nothing was sent, and nothing is told here. What the parent had queued at that
    /// moment is sent by the parent.
    pub forked: bool,
}

/// What became of the spans and session events of names that are no longer remembered, since the last report. Nothing of them is pending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedReport {
    /// Spans that the receiver took.
    pub delivered: u64,
    /// Spans that were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// The same for the starts and enrichments of sessions.
    pub session_events: SessionEventsReport,
}

/// What became of one tracer's spans and session events since its last report.
///
/// A loss is told by the first report after it, also if it happened before the flush was asked for. A registry's report puts all tracers
/// together that a selector ever had, pooled and dedicated; that of a handle's own flush is of its tracer alone, and what it tells is not told
/// by the registry's next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a report says what was not delivered"]
#[non_exhaustive]
pub struct TracerReport {
    /// Whose.
    pub selector: Selector,
    /// Spans that the receiver took.
    pub delivered: u64,
    /// Spans that were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Spans accepted before the flush that are neither delivered nor dropped yet; zero where the flush had the time it needed.
    pub pending: u64,
    /// The same for the starts and enrichments of sessions.
    pub session_events: SessionEventsReport,
    /// The last thing that went wrong, if anything did since the tracer was made.
    pub last_error: Option<ExportError>,
    /// The process is a fork of the one that made the tracer, see [`Report::forked`].
    pub forked: bool,
}

/// What became of a tracer's session events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionEventsReport {
    /// Taken by the receiver.
    pub delivered: u64,
    /// Dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Accepted before the flush, and neither delivered nor dropped yet.
    pub pending: u64,
}

impl Report {
    /// What a fork is told.
    pub(crate) fn of_fork() -> Self {
        Self {
            forked: true,
            ..Self::default()
        }
    }

    /// Whether everything was delivered: nothing dropped, nothing left. In a fork it was not.
    pub fn is_complete(&self) -> bool {
        !self.forked && self.tracers.iter().all(TracerReport::is_complete) && self.evicted_totals.lost() == 0
    }

    /// Spans and session events that were dropped.
    pub fn lost(&self) -> u64 {
        self.tracers.iter().map(TracerReport::lost).sum::<u64>() + self.evicted_totals.lost()
    }

    /// Spans and session events that are neither delivered nor dropped yet.
    pub fn pending(&self) -> u64 {
        self.tracers
            .iter()
            .map(|tracer| tracer.pending + tracer.session_events.pending)
            .sum()
    }
}

impl EvictedReport {
    pub(crate) fn new(since: &EvictedLedgers) -> Self {
        let (spans, events) = (since.ledgers.spans.snapshot(), since.ledgers.events.snapshot());
        Self {
            delivered: spans.delivered,
            dropped: spans.dropped,
            session_events: SessionEventsReport {
                delivered: events.delivered,
                dropped: events.dropped,
                pending: 0,
            },
        }
    }

    /// Spans and session events that were dropped.
    pub fn lost(&self) -> u64 {
        self.dropped.values().chain(self.session_events.dropped.values()).sum()
    }
}

impl TracerReport {
    pub(crate) fn new(selector: Selector, since: Ledgers, pending: Pending, failures: Option<Failures>) -> Self {
        let (spans, events) = (since.spans.snapshot(), since.events.snapshot());
        Self {
            selector,
            delivered: spans.delivered,
            pending: pending.spans,
            dropped: spans.dropped,
            session_events: SessionEventsReport {
                delivered: events.delivered,
                pending: pending.events,
                dropped: events.dropped,
            },
            last_error: failures.map(|failures| failures.error),
            forked: false,
        }
    }

    /// Nothing happened that was not told.
    pub(crate) fn nothing(selector: Selector) -> Self {
        Self::new(selector, Ledgers::default(), Pending::default(), None)
    }

    /// What a fork is told.
    pub(crate) fn forked(selector: Selector) -> Self {
        Self {
            forked: true,
            ..Self::nothing(selector)
        }
    }

    /// Whether everything was delivered: nothing dropped, nothing left. In a fork it was not.
    pub fn is_complete(&self) -> bool {
        !self.forked && self.lost() == 0 && self.pending == 0 && self.session_events.pending == 0
    }

    /// Spans and session events that were dropped.
    pub fn lost(&self) -> u64 {
        self.dropped.values().chain(self.session_events.dropped.values()).sum()
    }
}

impl fmt::Display for Report {
    /// A line per tracer that has something to tell, and one for those that are no longer remembered by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forked {
            return writeln!(f, "{FORKED}");
        }
        let mut lines = self
            .tracers
            .iter()
            .filter(|tracer| !tracer.is_complete() || tracer.delivered > 0);
        lines.try_for_each(|tracer| writeln!(f, "{tracer}"))?;
        let evicted = &self.evicted_totals;
        if evicted.lost() + evicted.delivered == 0 {
            return Ok(());
        }
        write!(f, "names no longer remembered: {} spans delivered", evicted.delivered)?;
        write_dropped(f, "", &evicted.dropped)?;
        write_dropped(f, "session events ", &evicted.session_events.dropped)?;
        writeln!(f)
    }
}

impl fmt::Display for TracerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forked {
            return write!(f, "{}: {FORKED}", self.selector);
        }
        write!(f, "{}: {} spans delivered", self.selector, self.delivered)?;
        write_dropped(f, "", &self.dropped)?;
        if self.pending > 0 {
            write!(f, ", {} not settled yet", self.pending)?;
        }
        write_dropped(f, "session events ", &self.session_events.dropped)?;
        if self.session_events.pending > 0 {
            write!(f, ", {} session events not settled yet", self.session_events.pending)?;
        }
        match &self.last_error {
            Some(error) if !self.is_complete() => write!(f, "; last error: {error}"),
            _ => Ok(()),
        }
    }
}

fn write_dropped(f: &mut fmt::Formatter<'_>, of: &str, dropped: &BTreeMap<DropReason, u64>) -> fmt::Result {
    dropped
        .iter()
        .try_for_each(|(reason, count)| write!(f, ", {count} {of}dropped ({reason})"))
}
