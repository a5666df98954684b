//! Counts spans and events that belong to no tracer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::Context;
use serde::{Deserialize, Serialize};

use crate::context::{self, Boundary};

/// Counts spans and events that belong to no tracer. Shared by a registry and its routing
/// integrations.
#[derive(Debug, Default)]
pub(crate) struct Unrouted {
    boundary: Arc<Boundary>,
    spans: AtomicU64,
    ended_requests: AtomicU64,
    tracing: AtomicU64,
}

/// Spans and events that were not recorded because no tracer was in scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnroutedStatus {
    /// Spans started outside any scope while no default tracer was available.
    pub spans: u64,
    /// Those of `spans` that were started in the scope of a finished request, if
    /// [`TenantLayer::scope_ends_with_request`](crate::integrations::tower::TenantLayer::scope_ends_with_request)
    /// is set.
    pub ended_requests: u64,
    /// Events and late fields of the `tracing` crate that were dropped because the code ran for one
    /// tracer while the current `tracing` span belonged to another.
    pub tracing: u64,
    /// Scopes that could not be entered because their thread had 65,534 attached contexts, the
    /// limit of OpenTelemetry. Until their guards are dropped, code on the thread runs outside any
    /// scope: its spans count in `spans` and go to no default. Also counts scopes entered and spans
    /// started in thread-local destructors after OpenTelemetry's context was dropped; they have no
    /// effect.
    pub unattached: u64,
}

// Relaxed: counters; they order no other memory.
impl Unrouted {
    pub(crate) fn new(boundary: &Arc<Boundary>) -> Arc<Self> {
        Arc::new(Self {
            boundary: Arc::clone(boundary),
            ..Self::default()
        })
    }

    /// Counts a span started in this context that is not recorded.
    pub(crate) fn note_span(&self, cx: &Context) {
        self.spans.fetch_add(1, Ordering::Relaxed);
        if context::is_over(cx) {
            self.ended_requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn note_tracing(&self) {
        self.tracing.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> UnroutedStatus {
        UnroutedStatus {
            spans: self.spans.load(Ordering::Relaxed),
            ended_requests: self.ended_requests.load(Ordering::Relaxed),
            tracing: self.tracing.load(Ordering::Relaxed),
            unattached: self.boundary.unattached(),
        }
    }
}
