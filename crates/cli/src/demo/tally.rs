//! Counts the spans that the service makes, and marks each with its owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracer_registry::{ActiveSpan, Selector, TracerHandle};

/// Attribute with the selector of the tracer that made the span.
pub(super) const OWNER: &str = "demo.owner";

/// Number of spans that each tracer made. Independent of the registry's ledgers.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<Selector, u64>>>);

impl Tally {
    /// Runs `work` in an async span that is counted and marked.
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

    /// Runs `work` in a span that is counted and marked.
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

    /// Returns the number of spans that each tracer made.
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
