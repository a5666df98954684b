//! State shared by the tracers of one registry to keep their data apart.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::stale_scopes::{StaleScopeStatus, StaleScopes};
use super::trace_origin::TraceKey;
use crate::selector::Selector;

/// The key of trace ids, and counters of data that was kept from crossing between tracers or
/// leaving the process. One per registry.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    pub(super) traces: TraceKey,
    baggage_dropped: AtomicU64,
    unattached: AtomicU64,
    foreign_parents: AtomicU64,
    foreign_links: AtomicU64,
    stale: StaleScopes,
}

/// Baggage omitted from outgoing requests, and foreign parents and links removed from spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PropagationStatus {
    /// Baggage entries omitted from outgoing requests: their name or metadata is not valid in a W3C
    /// `baggage` header, or the header was full (64 entries, 8,192 bytes).
    pub baggage_dropped: u64,
    /// Remote spans rejected as parents, although the binding trusts remote parents, because
    /// another selector of this registry began their trace.
    pub foreign_parents: u64,
    /// Links removed from spans: to a span of another tracer, or into a trace that another selector
    /// of this registry began.
    pub foreign_links: u64,
}

// Relaxed: counters; they order no other memory.
impl Boundary {
    pub(crate) fn note_baggage_dropped(&self, entries: u64) {
        self.baggage_dropped.fetch_add(entries, Ordering::Relaxed);
    }

    /// Counts a scope that could not be made current. Returns whether it is the first one.
    pub(crate) fn note_unattached(&self) -> bool {
        self.unattached.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn unattached(&self) -> u64 {
        self.unattached.load(Ordering::Relaxed)
    }

    pub(crate) fn note_foreign_parent(&self) {
        self.foreign_parents.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_foreign_links(&self, links: usize) {
        self.foreign_links.fetch_add(links as u64, Ordering::Relaxed);
    }

    /// Counts a span that starts in the scope of a request that ended more than 60 s ago.
    pub(crate) fn note_stale(&self, selector: &Selector, span: &str) {
        self.stale.note(selector, span);
    }

    pub(crate) fn stale_scope_spans(&self) -> StaleScopeStatus {
        self.stale.status()
    }

    pub(crate) fn propagation(&self) -> PropagationStatus {
        PropagationStatus {
            baggage_dropped: self.baggage_dropped.load(Ordering::Relaxed),
            foreign_parents: self.foreign_parents.load(Ordering::Relaxed),
            foreign_links: self.foreign_links.load(Ordering::Relaxed),
        }
    }
}
