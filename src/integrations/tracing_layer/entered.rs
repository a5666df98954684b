//! The contexts that this thread entered by spans of the `tracing` crate.

use std::cell::RefCell;
use std::mem;

use opentelemetry::Context;
use tracing::span::Id;

use crate::context::{self, ScopeGuard};

thread_local! {
    static ENTERED: RefCell<Entered> = RefCell::new(Entered::default());
}

/// A span whose entering changed nothing has an entry without a guard, so that leaving it pops no other one.
struct Entered(Vec<(usize, Id, Option<ScopeGuard>)>);

impl Default for Entered {
    fn default() -> Self {
        // Makes OpenTelemetry's stack first, so that the thread drops it after this.
        drop(context::current());
        Self(Vec::new())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Spans that were never left. At the end of the thread there is nothing to restore.
        mem::forget(mem::take(&mut self.0));
    }
}

/// The current context of the thread. `None` at the thread's end, after it dropped what it entered: destructors of its other variables may still
/// make spans.
pub(super) fn current() -> Option<Context> {
    ENTERED.try_with(|_| context::current()).ok()
}

/// Keeps a guard until its span is left.
pub(super) fn push(layer: usize, span: &Id, guard: Option<ScopeGuard>) {
    ENTERED.with_borrow_mut(|entered| entered.0.push((layer, span.clone(), guard)));
}

/// Returns the guard. Spans may be left in another order than they were entered in.
pub(super) fn pop(layer: usize, span: &Id) -> Option<ScopeGuard> {
    let popped = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let is_it = |(of, id, _): &(usize, Id, Option<ScopeGuard>)| *of == layer && id == span;
        let at = entered.0.iter().rposition(is_it)?;
        entered.0.remove(at).2
    });
    popped.ok().flatten()
}
