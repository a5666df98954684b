//! Computes a status from the ledgers.

use super::types::{EvictedTotals, Status, TracerStatus};
use crate::export::{EvictedLedgers, SelectorLedger};
use crate::registry::handle::TracerRegistry;
use crate::selector::{Selector, SelectorError};
use crate::util::wall_time;

impl TracerRegistry {
    /// Returns the status of all tracers. Empty in a forked child of the registry's process.
    pub fn status(&self) -> Status {
        if self.0.engine.is_forked() {
            return Status::default();
        }
        let (ledgers, evicted) = self.0.accounting.all_sorted();
        let tracers = ledgers.iter().map(|ledger| tracer_status(ledger)).collect();
        self.status_with(tracers, &evicted)
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
        Ok(self.0.accounting.find(&selector).map(|ledger| tracer_status(&ledger)))
    }

    fn status_with(&self, tracers: Vec<TracerStatus>, evicted: &EvictedLedgers) -> Status {
        let boundary = self.0.engine.boundary();
        Status {
            configuration: self.0.state.reloads.status(),
            tracers,
            pool: self.0.state.pool.status(),
            evicted_totals: EvictedTotals {
                names: evicted.names,
                spans: evicted.ledgers.spans.snapshot(),
                session_events: evicted.ledgers.events.snapshot(),
            },
            unrouted: self.0.unrouted.status(),
            stale_scope_spans: boundary.stale_scope_spans(),
            propagation: boundary.propagation(),
        }
    }
}

pub(super) fn tracer_status(ledger: &SelectorLedger) -> TracerStatus {
    let snapshot = ledger.snapshot();
    let (last_error, errors) = snapshot
        .failures
        .map(|failures| (failures.error, failures.status))
        .unzip();
    TracerStatus {
        selector: ledger.selector.clone(),
        tracers: snapshot.lanes,
        paused: ledger.gate.is_closed(),
        destination: snapshot.destination,
        spans: snapshot.ledgers.spans.snapshot(),
        queued_bytes: snapshot.held_bytes,
        oldest_queued: snapshot.oldest.map(wall_time::to_millis),
        session_events: snapshot.ledgers.events.snapshot(),
        oldest_request: snapshot.oldest_request,
        last_error,
        errors,
        last_refused_span: snapshot.refused_span,
        last_delivery: snapshot.last_delivery.map(wall_time::to_millis),
        breakers: snapshot.breakers,
        key: snapshot.key,
    }
}
