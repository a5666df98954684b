//! The span of a call that runs on the caller's thread until it returns.

use std::ops::{Deref, DerefMut};
use std::thread;

use super::call::Call;
use super::call_span::{self, CallSpan};
use crate::context::ScopeGuard;

/// The span of a running function, current until the guard drops.
///
/// Must stay small: it lies in the function's frame, and ten thousand nested calls must fit a
/// thread's default stack.
pub struct Entered {
    // Declared first, so the context is detached before the span ends.
    _scope: Option<ScopeGuard>,
    span: CallSpan,
    was_panicking: bool,
}

/// Begins a call, and makes its context current on this thread until it ends.
pub fn enter(call: impl FnOnce() -> Call) -> Entered {
    let span = call_span::begin(call);
    Entered {
        _scope: span.attach(),
        span,
        was_panicking: thread::panicking(),
    }
}

impl Deref for Entered {
    type Target = CallSpan;

    fn deref(&self) -> &CallSpan {
        &self.span
    }
}

impl DerefMut for Entered {
    fn deref_mut(&mut self) -> &mut CallSpan {
        &mut self.span
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.span.record_panic(self.was_panicking);
    }
}
