//! The runtime of `#[trace]`: the tracer of a call, its span, its captured arguments and its outcome.
//!
//! Expansions name it as `__private`; nothing in it is for use by hand.
//!
//! Invariants: the traced function runs exactly once, whatever happens to the span, and nothing in here makes it fail or panic.

mod call;
mod capture;
mod choice;
mod counts;
mod entered;
mod future;
mod iterator;
mod life;
mod outcome;
mod serializer;
mod stream;
mod text;
mod value;
mod writer;

pub use call::Call;
pub use capture::Capture;
pub use choice::{NameOption, RegistryOption, SessionOption, TracerOption, registry, text};
pub use counts::{TraceCounts, trace_counts};
pub use entered::{Entered, enter};
pub use future::{TracedFuture, future, run};
pub use iterator::{TracedIterator, iterator};
pub use life::{Life, begin, plan};
pub use outcome::{Failure, Outcome, Recorder};
pub use stream::{TracedStream, stream};
pub use value::Value;

/// The traits that choose by what a type implements. In scope only where no code of the user is.
pub mod by {
    pub use super::outcome::{OfOther, OfResult, RecordDebug, RecordDisplay, RecordType};
    pub use super::value::{ByDebug, ByName, BySerialize};
}

// Under other names, because the user's code may define these.
pub use std::boxed::Box as Boxed;
pub use std::convert::Infallible;
pub use std::option::Option as Named;
pub use std::result::Result as Ended;

/// Runs a function's body. The compiler takes a closure that is called in place for one that may run again, so it could not move out what it holds.
#[expect(
    clippy::inline_always,
    reason = "in a debug build each function that calls itself would need a third frame"
)]
#[inline(always)]
pub fn once<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Gives an `async` block its return type, in code that never runs.
///
/// # Panics
/// Always.
pub fn never<T>() -> T {
    unreachable!("code that is never run")
}

/// Records the outcome of a call. Gives the closure its argument types.
pub fn record<T>(returned: &T, recorder: &mut Recorder<'_>, outcome: impl FnOnce(&T, &mut Recorder<'_>)) {
    outcome(returned, recorder);
}
