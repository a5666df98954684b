//! Reports of a flush or shutdown: delivered, dropped and pending data per tracer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::counted_lane::{Failures, Pending};
use super::eviction::EvictedLedgers;
use crate::export::ExportError;
use crate::ledger::{DropReason, Ledgers};
use crate::selector::Selector;

/// Text of a report in a forked child.
const FORKED: &str = "nothing was sent: the process was forked after the registry was created";

/// Report on all tracers' spans and session events since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "the report lists undelivered data"]
#[non_exhaustive]
pub struct Report {
    /// Reports by tracer, sorted by selector.
    pub tracers: Vec<TracerReport>,
    /// Totals of evicted selectors.
    pub evicted_totals: EvictedReport,
    /// Whether this process is a fork of the one that created the registry. If so, nothing was sent
    /// and the report is empty. The parent sends what it had queued.
    pub forked: bool,
}

/// Totals of evicted selectors since the last report. Nothing of them is pending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedReport {
    /// Number of delivered spans.
    pub delivered: u64,
    /// Number of dropped spans, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Report on session starts and enrichments.
    pub session_events: SessionEventsReport,
}

/// Report on one tracer's spans and session events since its last report.
///
/// Each loss is in exactly one report: the first one after it, even if it happened before the
/// flush. A registry's report sums all tracers that a selector ever had, pooled and dedicated. The
/// report of a handle's own flush covers only its tracer, and the registry's next report does not
/// repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "the report lists undelivered data"]
#[non_exhaustive]
pub struct TracerReport {
    /// Selector of the tracer.
    pub selector: Selector,
    /// Number of delivered spans.
    pub delivered: u64,
    /// Number of dropped spans, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Spans accepted before the flush that are neither delivered, on disk, nor dropped. Zero if
    /// the flush did not time out.
    pub pending: u64,
    /// Spans of the selector that are on disk alone, and are sent later, also by a later process.
    #[serde(default)]
    pub spooled: u64,
    /// Report on session starts and enrichments.
    pub session_events: SessionEventsReport,
    /// Last error since the tracer was created, if any.
    pub last_error: Option<ExportError>,
    /// Whether this process is a fork of the one that created the tracer, see [`Report::forked`].
    pub forked: bool,
}

/// Report on session events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionEventsReport {
    /// Number of delivered events.
    pub delivered: u64,
    /// Number of dropped events, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Events accepted before the flush that are neither delivered, on disk, nor dropped.
    pub pending: u64,
    /// Events of the selector that are on disk alone, and are sent later.
    #[serde(default)]
    pub spooled: u64,
}

impl Report {
    /// Creates the report of a forked child.
    pub(crate) fn of_fork() -> Self {
        Self {
            forked: true,
            ..Self::default()
        }
    }

    /// Returns whether nothing was dropped and nothing is pending: everything was delivered, or is
    /// on disk. False in a forked child.
    pub fn is_complete(&self) -> bool {
        !self.forked && self.tracers.iter().all(TracerReport::is_complete) && self.evicted_totals.lost() == 0
    }

    /// Returns the number of dropped spans and session events.
    pub fn lost(&self) -> u64 {
        self.tracers.iter().map(TracerReport::lost).sum::<u64>() + self.evicted_totals.lost()
    }

    /// Returns the number of spans and session events that are neither delivered, on disk, nor
    /// dropped.
    pub fn pending(&self) -> u64 {
        self.tracers
            .iter()
            .map(|tracer| tracer.pending + tracer.session_events.pending)
            .sum()
    }

    /// Returns the number of spans and session events that are on disk alone.
    pub fn spooled(&self) -> u64 {
        self.tracers
            .iter()
            .map(|tracer| tracer.spooled + tracer.session_events.spooled)
            .sum()
    }
}

impl EvictedReport {
    pub(crate) fn new(since: &EvictedLedgers) -> Self {
        let Ledgers { spans, events } = &since.ledgers;
        Self {
            delivered: spans.delivered(),
            dropped: spans.dropped(),
            session_events: SessionEventsReport {
                delivered: events.delivered(),
                dropped: events.dropped(),
                ..SessionEventsReport::default()
            },
        }
    }

    /// Returns the number of dropped spans and session events.
    pub fn lost(&self) -> u64 {
        self.dropped.values().chain(self.session_events.dropped.values()).sum()
    }
}

impl TracerReport {
    /// Creates a report. `all` are the totals of the selector.
    pub(crate) fn new(
        selector: Selector,
        since: &Ledgers,
        pending: Pending,
        all: &Ledgers,
        failures: Option<Failures>,
    ) -> Self {
        let Ledgers { spans, events } = since;
        Self {
            selector,
            delivered: spans.delivered(),
            pending: pending.spans,
            spooled: all.spans.spooled(),
            dropped: spans.dropped(),
            session_events: SessionEventsReport {
                delivered: events.delivered(),
                pending: pending.events,
                spooled: all.events.spooled(),
                dropped: events.dropped(),
            },
            last_error: failures.map(|failures| failures.error),
            forked: false,
        }
    }

    /// Creates an empty report.
    pub(crate) fn nothing(selector: Selector) -> Self {
        let nothing = Ledgers::default();
        Self::new(selector, &nothing, Pending::default(), &nothing, None)
    }

    /// Creates the report of a forked child.
    pub(crate) fn forked(selector: Selector) -> Self {
        Self {
            forked: true,
            ..Self::nothing(selector)
        }
    }

    /// Returns whether nothing was dropped and nothing is pending: everything was delivered, or is
    /// on disk. False in a forked child.
    pub fn is_complete(&self) -> bool {
        !self.forked && self.lost() == 0 && self.pending == 0 && self.session_events.pending == 0
    }

    /// Returns the number of dropped spans and session events.
    pub fn lost(&self) -> u64 {
        self.dropped.values().chain(self.session_events.dropped.values()).sum()
    }

    fn spooled(&self) -> u64 {
        self.spooled + self.session_events.spooled
    }
}

impl fmt::Display for Report {
    /// Writes a line per tracer with deliveries, losses or pending data, and one for evicted
    /// selectors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forked {
            return writeln!(f, "{FORKED}");
        }
        let mut lines = self
            .tracers
            .iter()
            .filter(|tracer| !tracer.is_complete() || tracer.delivered + tracer.spooled() > 0);
        lines.try_for_each(|tracer| writeln!(f, "{tracer}"))?;
        let evicted = &self.evicted_totals;
        if evicted.lost() + evicted.delivered == 0 {
            return Ok(());
        }
        write!(f, "evicted selectors: {}", Delivered(evicted.delivered))?;
        write_dropped(f, |_| "", &evicted.dropped)?;
        write_dropped(f, session_events, &evicted.session_events.dropped)?;
        writeln!(f)
    }
}

impl fmt::Display for TracerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forked {
            return write!(f, "{}: {FORKED}", self.selector);
        }
        write!(f, "{}: {}", self.selector, Delivered(self.delivered))?;
        write_dropped(f, |_| "", &self.dropped)?;
        if self.pending > 0 {
            write!(f, ", {} pending", self.pending)?;
        }
        if self.spooled > 0 {
            write!(f, ", {} spooled", self.spooled)?;
        }
        write_dropped(f, session_events, &self.session_events.dropped)?;
        if self.session_events.pending > 0 {
            let pending = self.session_events.pending;
            write!(f, ", {pending} {}pending", session_events(pending))?;
        }
        if self.session_events.spooled > 0 {
            let spooled = self.session_events.spooled;
            write!(f, ", {spooled} {}spooled", session_events(spooled))?;
        }
        match &self.last_error {
            Some(error) if !self.is_complete() => write!(f, "; last error: {error}"),
            _ => Ok(()),
        }
    }
}

/// Displays the number of delivered spans.
struct Delivered(u64);

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = if self.0 == 1 { "span" } else { "spans" };
        write!(f, "{} {spans} delivered", self.0)
    }
}

fn session_events(count: u64) -> &'static str {
    if count == 1 {
        "session event "
    } else {
        "session events "
    }
}

fn write_dropped(
    f: &mut fmt::Formatter<'_>,
    of: fn(u64) -> &'static str,
    dropped: &BTreeMap<DropReason, u64>,
) -> fmt::Result {
    dropped
        .iter()
        .try_for_each(|(reason, count)| write!(f, ", {count} {}dropped ({reason})", of(*count)))
}
