//! What had no tracer to go to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::Context;
use serde::{Deserialize, Serialize};

use crate::context::{self, Boundary};

/// Counts what had no tracer to go to. Shared by a registry and what routes for it.
#[derive(Debug, Default)]
pub(crate) struct Unrouted {
    boundary: Arc<Boundary>,
    spans: AtomicU64,
    ended_requests: AtomicU64,
    tracing: AtomicU64,
}

/// What code outside any scope made, and what was not recorded because it belonged to no tracer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnroutedStatus {
    /// Spans that were started outside any scope, and had no default to go to.
    pub spans: u64,
    /// Those of them that were started in the scope of a request that had ended, if
    /// [`TenantLayer::scope_ends_with_request`](crate::integrations::tower::TenantLayer::scope_ends_with_request) ends the scope too.
    pub ended_requests: u64,
    /// Events and late fields of the `tracing` crate that were left out: the code ran for one tracer, and the current `tracing` span was
    /// another tracer's.
    pub tracing: u64,
    /// How often a scope could not be made current, because its thread had 65,534 attached contexts, the most that OpenTelemetry keeps. Until
    /// the guards of such scopes are dropped, code on the thread runs in no scope: its spans are counted above, and go to no default. Also how often
    /// a scope was entered or a span started in the destructor of a thread's variable, after OpenTelemetry's context was gone: it came to nothing.
    pub unattached: u64,
}

// Relaxed: counts, nothing hangs on them.
impl Unrouted {
    pub(crate) fn new(boundary: &Arc<Boundary>) -> Arc<Self> {
        Arc::new(Self {
            boundary: Arc::clone(boundary),
            ..Self::default()
        })
    }

    /// A span that was started in this context was not recorded.
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
