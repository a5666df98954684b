//! A call of a function that runs on the caller's thread until it returns.

use std::ops::{Deref, DerefMut};
use std::thread;

use super::call::Call;
use super::life::{self, Life};
use crate::context::ScopeGuard;

/// The span of a function that runs, until it returns.
///
/// It lies in the frame of the function, and is small: a traced function that calls itself ten thousand times must fit a thread's default stack.
pub struct Entered {
    // First, so that the context is left before the span ends.
    _scope: Option<ScopeGuard>,
    life: Life,
    was_panicking: bool,
}

/// Begins a call, and makes its context current on this thread until it ends.
pub fn enter(call: impl FnOnce() -> Call) -> Entered {
    let life = life::begin(call);
    Entered {
        _scope: life.attach(),
        life,
        was_panicking: thread::panicking(),
    }
}

impl Deref for Entered {
    type Target = Life;

    fn deref(&self) -> &Life {
        &self.life
    }
}

impl DerefMut for Entered {
    fn deref_mut(&mut self) -> &mut Life {
        &mut self.life
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.life.note_if_panicked(self.was_panicking);
    }
}
