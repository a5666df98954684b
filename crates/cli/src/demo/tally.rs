//! What the demo's service says it made: the count that the collector's is held against, and a mark on every span.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracer_registry::{ActiveSpan, Selector, TracerHandle};

/// The attribute with the owner of a span when it was made.
pub(super) const OWNER: &str = "demo.owner";

/// Counts spans by the tracer that made them. Independent of the registry's own ledgers.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<Selector, u64>>>);

impl Tally {
    /// An async span, counted and marked.
    pub(super) async fn in_span_async<T>(
        &self,
        tracer: &TracerHandle,
        name: &'static str,
        work: impl AsyncFnOnce(ActiveSpan) -> T,
    ) -> T {
        let owner = tracer.selector().clone();
        let marked = async |span: ActiveSpan| {
            self.mark(&owner, &span);
            work(span).await
        };
        tracer.in_span_async(name, marked).await
    }

    /// A span around a closure, counted and marked.
    pub(super) fn in_span<T>(
        &self,
        tracer: &TracerHandle,
        name: &'static str,
        work: impl FnOnce(ActiveSpan) -> T,
    ) -> T {
        tracer.in_span(name, |span| {
            self.mark(tracer.selector(), &span);
            work(span)
        })
    }

    /// How many spans each tracer made.
    pub(super) fn made(&self) -> BTreeMap<Selector, u64> {
        self.lock().clone()
    }

    fn mark(&self, owner: &Selector, span: &ActiveSpan) {
        span.set_attribute(OWNER, owner.to_string());
        *self.lock().entry(owner.clone()).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Selector, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
