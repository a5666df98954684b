//! A call of a function that works on the caller's thread until it returns.

use std::thread;

use super::call::Call;
use super::capture::Capture;
use super::life::{self, Life};
use super::outcome::Told;
use crate::context::ScopeGuard;

/// The span of a function that runs, until it returns.
///
/// It lies in the frame of the function: what is traced and calls itself ten thousand times is to do so on a thread's default stack.
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

impl Entered {
    /// As [`Life::inputs`].
    pub fn inputs(&mut self, tell: impl FnOnce(&mut Capture)) {
        self.life.inputs(tell);
    }

    /// As [`Life::fields`].
    pub fn fields(&mut self, tell: impl FnOnce(&mut Capture)) {
        self.life.fields(tell);
    }

    /// As [`Life::outcome`].
    pub fn outcome(&self, tell: impl FnOnce(&mut Told<'_>)) {
        self.life.outcome(tell);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.life.note_if_panicked(self.was_panicking);
    }
}
