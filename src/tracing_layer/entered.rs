//! The contexts that this thread is in because it entered spans of the `tracing` crate.

use std::cell::RefCell;
use std::mem;

use opentelemetry::ContextGuard;
use tracing::span::Id;

thread_local! {
    static ENTERED: RefCell<Entered> = const { RefCell::new(Entered(Vec::new())) };
}

struct Entered(Vec<(usize, Id, ContextGuard)>);

impl Drop for Entered {
    fn drop(&mut self) {
        // A guard that was never left, at the end of its thread: OpenTelemetry's own stack may be gone by now.
        mem::forget(mem::take(&mut self.0));
    }
}

/// Keeps a guard until its span is left.
pub(super) fn push(layer: usize, span: &Id, guard: ContextGuard) {
    ENTERED.with_borrow_mut(|entered| entered.0.push((layer, span.clone(), guard)));
}

/// Gives the guard back. Spans may be left in another order than they were entered in.
pub(super) fn pop(layer: usize, span: &Id) -> Option<ContextGuard> {
    ENTERED.with_borrow_mut(|entered| {
        let is_it = |(of, id, _): &(usize, Id, ContextGuard)| *of == layer && id == span;
        let at = entered.0.iter().rposition(is_it)?;
        Some(entered.0.remove(at).2)
    })
}
