//! The contexts that this thread is in because it entered spans of the `tracing` crate.

use std::cell::RefCell;
use std::mem;

use opentelemetry::Context;
use tracing::span::Id;

use crate::context::{self, ScopeGuard};

thread_local! {
    static ENTERED: RefCell<Entered> = RefCell::new(Entered::default());
}

/// A span that was entered and changed nothing has no guard. It is here too, so that leaving it takes back nothing else.
struct Entered(Vec<(usize, Id, Option<ScopeGuard>)>);

impl Default for Entered {
    fn default() -> Self {
        // OpenTelemetry's own stack is made first, and so goes last: while this is there, so is that.
        drop(context::current());
        Self(Vec::new())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // A guard that was never left, at the end of its thread. What it would make current again is nothing to anybody.
        mem::forget(mem::take(&mut self.0));
    }
}

/// The current context of the thread. None at the thread's end, once what it has entered is gone: destructors of its other variables may still
/// have spans.
pub(super) fn current() -> Option<Context> {
    ENTERED.try_with(|_| context::current()).ok()
}

/// Keeps a guard until its span is left.
pub(super) fn push(layer: usize, span: &Id, guard: Option<ScopeGuard>) {
    ENTERED.with_borrow_mut(|entered| entered.0.push((layer, span.clone(), guard)));
}

/// Gives the guard back. Spans may be left in another order than they were entered in.
pub(super) fn pop(layer: usize, span: &Id) -> Option<ScopeGuard> {
    let popped = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let is_it = |(of, id, _): &(usize, Id, Option<ScopeGuard>)| *of == layer && id == span;
        let at = entered.0.iter().rposition(is_it)?;
        entered.0.remove(at).2
    });
    popped.ok().flatten()
}
