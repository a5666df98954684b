//! Contexts that spans of the `tracing` crate made current on this thread.

use std::cell::RefCell;
use std::mem;

use opentelemetry::Context;
use tracing::span::Id;

use crate::context::{self, ScopeGuard};

thread_local! {
    static ENTERED: RefCell<Entered> = RefCell::new(Entered::default());
}

/// Entered spans. A span that changed nothing has an entry without a guard, so leaving it pops no
/// other entry.
struct Entered(Vec<(usize, Id, Option<ScopeGuard>)>);

impl Default for Entered {
    fn default() -> Self {
        // Initializes OpenTelemetry's stack first, so the thread drops it after this.
        drop(context::current());
        Self(Vec::new())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Spans that were never left. A thread that ends has no context to restore.
        mem::forget(mem::take(&mut self.0));
    }
}

/// Returns the current context of the thread. `None` once the ending thread dropped this state,
/// because other destructors may still create spans.
pub(super) fn current() -> Option<Context> {
    ENTERED.try_with(|_| context::current()).ok()
}

/// Stores the guard of an entered span.
pub(super) fn push(layer: usize, span: &Id, guard: Option<ScopeGuard>) {
    ENTERED.with_borrow_mut(|entered| entered.0.push((layer, span.clone(), guard)));
}

/// Removes and returns the guard of a span. Spans may be left in any order.
pub(super) fn pop(layer: usize, span: &Id) -> Option<ScopeGuard> {
    let popped = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let matches = |(of, id, _): &(usize, Id, Option<ScopeGuard>)| *of == layer && id == span;
        let index = entered.0.iter().rposition(matches)?;
        entered.0.remove(index).2
    });
    popped.ok().flatten()
}
