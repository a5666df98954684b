//! Computes a status from the ledgers.

use super::types::{EvictedTotals, SpoolStatus, Status, Totals, TracerStatus};
use crate::export::{EvictedLedgers, SelectorLedger};
use crate::registry::handle::TracerRegistry;
use crate::registry::spool::ErasedSelectors;
use crate::selector::{Selector, SelectorError};
use crate::util::wall_time;

/// Spans of a selector. For the gateway. Unstable.
#[cfg(feature = "gateway")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Accepted by the receiver.
    pub delivered: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// In memory or on disk, without an outcome.
    pub waiting: u64,
}

impl TracerRegistry {
    /// Returns the counts of spans of all selectors, without their status. Empty in a forked child of
    /// the registry's process. For the gateway. Unstable.
    #[cfg(feature = "gateway")]
    #[doc(hidden)]
    pub fn span_counts(&self) -> Vec<(Selector, SpanCounts)> {
        if self.0.engine.is_forked() {
            return Vec::new();
        }
        let counts = self.0.accounting.all().0.into_iter().map(|ledger| {
            let spans = ledger.summary().ledgers.spans;
            let counts = SpanCounts {
                delivered: spans.delivered(),
                dropped: spans.dropped().values().sum(),
                waiting: spans.pending() + spans.spooled(),
            };
            (ledger.selector.clone(), counts)
        });
        counts.collect()
    }

    /// Returns the status of all tracers. Empty in a forked child of the registry's process.
    pub fn status(&self) -> Status {
        if self.0.engine.is_forked() {
            return Status::default();
        }
        let (ledgers, evicted) = self.0.accounting.all_sorted();
        let erased = &self.0.state.erased;
        let tracers = ledgers.iter().map(|ledger| tracer_status(ledger, erased)).collect();
        self.status_with(tracers, &evicted)
    }

    /// Returns the counts of all selectors together, evicted ones too. Visits every selector, without
    /// its status. Empty in a forked child of the registry's process.
    pub fn totals(&self) -> Totals {
        if self.0.engine.is_forked() {
            return Totals::default();
        }
        let (ledgers, evicted) = self.0.accounting.all();
        let mut sum = evicted.ledgers;
        for ledger in ledgers {
            sum.add(&ledger.summary().ledgers);
        }
        Totals {
            spans: sum.spans.snapshot(),
            session_events: sum.events.snapshot(),
        }
    }

    /// Returns everything of [`status`](Self::status) but the tracers. Visits no tracer. Empty in a
    /// forked child of the registry's process.
    pub fn status_without_tracers(&self) -> Status {
        if self.0.engine.is_forked() {
            return Status::default();
        }
        self.status_with(Vec::new(), &self.0.accounting.evicted())
    }

    /// Returns the status of one selector. `None` if it never had a tracer or a pause, or if its
    /// counts have moved to [`Status::evicted_totals`]. Visits no other selector. `None` in a forked child of
    /// the registry's process.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn tracer_status<S>(&self, selector: S) -> Result<Option<TracerStatus>, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        if self.0.engine.is_forked() {
            return Ok(None);
        }
        let ledger = self.0.accounting.find(&selector);
        Ok(ledger.map(|ledger| tracer_status(&ledger, &self.0.state.erased)))
    }

    /// Returns the status of data on disk. `None` if `spool.mode` is off, and in a forked child of the
    /// registry's process. Visits every selector, for the age of the oldest data.
    pub fn spool_status(&self) -> Option<SpoolStatus> {
        if self.0.engine.is_forked() {
            return None;
        }
        let ledgers = self.0.accounting.all().0;
        let oldest = ledgers.iter().filter_map(|ledger| ledger.spooled().oldest).min();
        self.0.spool_status(oldest.map(wall_time::to_millis))
    }

    fn status_with(&self, tracers: Vec<TracerStatus>, evicted: &EvictedLedgers) -> Status {
        let boundary = self.0.engine.boundary();
        Status {
            spool: self
                .0
                .spool_status(tracers.iter().filter_map(|tracer| tracer.oldest_spooled).min()),
            configuration: self.0.state.reloads.status(),
            tracers,
            pool: self.0.state.pool.status(),
            evicted_totals: EvictedTotals {
                names: evicted.names,
                spans: evicted.ledgers.spans.snapshot(),
                session_events: evicted.ledgers.events.snapshot(),
                redacted: evicted.redacted,
            },
            unrouted: self.0.unrouted.status(),
            stale_scope_spans: boundary.stale_scope_spans(),
            propagation: boundary.propagation(),
        }
    }
}

pub(super) fn tracer_status(ledger: &SelectorLedger, erased: &ErasedSelectors) -> TracerStatus {
    let (snapshot, spooled) = (ledger.snapshot(), ledger.spooled());
    let (last_error, errors) = snapshot
        .failures
        .map(|failures| (failures.error, failures.status))
        .unzip();
    TracerStatus {
        selector: ledger.selector.clone(),
        tracers: snapshot.lanes,
        paused: ledger.gate.is_closed(),
        erased: erased.covers(&ledger.selector),
        destination: snapshot.destination,
        copies: snapshot.copies,
        spans: snapshot.ledgers.spans.snapshot(),
        queued_bytes: snapshot.held_bytes,
        oldest_queued: snapshot.oldest.map(wall_time::to_millis),
        spooled_bytes: spooled.bytes,
        oldest_spooled: spooled.oldest.map(wall_time::to_millis),
        session_events: snapshot.ledgers.events.snapshot(),
        oldest_request: snapshot.oldest_request,
        last_error,
        errors,
        last_refused_span: snapshot.refused_span,
        last_delivery: snapshot.last_delivery.map(wall_time::to_millis),
        redaction: snapshot.redaction,
        breakers: snapshot.breakers,
        quota: snapshot.quota,
        key: snapshot.key,
    }
}
