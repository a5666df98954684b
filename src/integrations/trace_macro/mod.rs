//! The runtime of `#[trace]`: the tracer of a call, its span, its captured arguments and its
//! outcome.
//!
//! Expansions use it as `__private`. It is no public API.
//!
//! Invariants: the traced function runs exactly once, and tracing never makes it fail or panic.

mod call;
mod call_span;
mod capture;
mod counts;
mod entered;
mod future;
mod iterator;
mod option_types;
mod outcome;
mod serializer;
mod stream;
mod text;
mod value;
mod writer;

pub use call::Call;
pub use call_span::{CallSpan, begin, plan};
pub use capture::Capture;
pub use counts::{TraceCounts, trace_counts};
pub use entered::{Entered, enter};
pub use future::{TracedFuture, future, run};
pub use iterator::{TracedIterator, iterator};
pub use option_types::{NameOption, RegistryOption, SessionOption, TracerOption, registry, text};
pub use outcome::{Failure, Outcome, Recorder};
pub use stream::{TracedStream, stream};
pub use value::Value;

/// Traits that dispatch on what a type implements. Never in scope together with user code.
pub mod by {
    pub use super::outcome::{OfOther, OfResult, RecordDebug, RecordDisplay, RecordType};
    pub use super::value::{ByDebug, ByName, BySerialize};
}

// Renamed, because user code may shadow the standard names.
pub use std::boxed::Box as Boxed;
pub use std::convert::Infallible;
pub use std::option::Option as Named;
pub use std::result::Result as Ended;

/// Runs a function's body. A direct call would make the compiler infer a closure that may run
/// again, which cannot move its captured values out.
#[expect(
    clippy::inline_always,
    reason = "saves a stack frame per recursive call in debug builds"
)]
#[inline(always)]
pub fn once<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Annotates the return type of an `async` block, in unreachable code.
///
/// # Panics
/// Always.
pub fn never<T>() -> T {
    unreachable!("only used for type inference")
}

/// Records the outcome of a call. Lets the compiler infer the argument types of the closure.
pub fn record<T>(returned: &T, recorder: &mut Recorder<'_>, outcome: impl FnOnce(&T, &mut Recorder<'_>)) {
    outcome(returned, recorder);
}
