//! What expansions of `#[trace]` call: which tracer a call is for, its span, and what is told of its arguments and of its outcome.
//!
//! Expansions name it as `__private`; nothing in it is for use by hand. What it owes to the function that is traced: the function runs once,
//! whatever becomes of the span, and nothing in here is an error or a panic of it.

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
pub use choice::{RegistryOption, SessionOption, TracerOption, registry, text};
pub use counts::{TraceCounts, trace_counts};
pub use entered::{Entered, enter};
pub use future::{TracedFuture, boxed_future, future, run};
pub use iterator::{TracedIterator, boxed_iterator, iterator};
pub use life::{Life, begin, plan};
pub use outcome::{Failure, Outcome, Told};
pub use stream::{TracedStream, boxed_stream, stream};
pub use value::Value;

/// The traits that choose by what a type can do. In scope only where nothing of the user's is.
pub mod by {
    pub use super::outcome::{OfOther, OfResult, TellDebug, TellDisplay, TellNothing};
    pub use super::value::{ByDebug, ByName, BySerialize};
}

// Whatever the user calls so.
pub use std::convert::Infallible;
pub use std::option::Option as Named;
pub use std::result::Result as Ended;

/// Runs a function's body. A closure that is called in place would be taken for one that may run again, and could not give away what it holds.
#[expect(
    clippy::inline_always,
    reason = "in a debug build each function that calls itself would need a third frame"
)]
#[inline(always)]
pub fn once<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// For the type it has, in code that is never run: an `async` block cannot be told its return type otherwise.
///
/// # Panics
/// Always.
pub fn never<T>() -> T {
    unreachable!("code that is never run")
}

/// Has the outcome of a call told.
pub fn tell<T>(returned: &T, told: &mut Told<'_>, outcome: impl FnOnce(&T, &mut Told<'_>)) {
    outcome(returned, told);
}
