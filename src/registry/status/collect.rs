//! What a status says, computed from the books.

use super::types::{EvictedTotals, Status, TracerStatus};
use crate::export::SelectorLedger;
use crate::registry::handle::TracerRegistry;
use crate::util::wall_time;

impl TracerRegistry {
    /// Returns how all tracers are doing. In a fork of the process that made the registry, nothing.
    pub fn status(&self) -> Status {
        if self.0.engine.is_forked() {
            return Status::default();
        }
        let (accounts, evicted) = self.0.books.all();
        let boundary = self.0.engine.boundary();
        Status {
            configuration: self.0.state.reloads.status(),
            tracers: accounts.iter().map(|account| of_account(account)).collect(),
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

fn of_account(account: &SelectorLedger) -> TracerStatus {
    let books = account.snapshot();
    let (last_error, errors) = books.failures.map(|failures| (failures.error, failures.status)).unzip();
    TracerStatus {
        selector: account.selector.clone(),
        tracers: books.lanes,
        destination: books.destination,
        spans: books.ledgers.spans.snapshot(),
        queued_bytes: books.held_bytes,
        oldest_queued: books.oldest.map(wall_time::shown),
        session_events: books.ledgers.events.snapshot(),
        oldest_request: books.oldest_request,
        last_error,
        errors,
        last_refused_span: books.refused_span,
        last_delivery: books.last_delivery.map(wall_time::shown),
        breakers: books.breakers,
        key: books.key,
    }
}
