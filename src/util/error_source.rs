//! Boxed errors and root causes.

use std::error::Error;

/// Boxed error that can cross threads.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the innermost source of an error. Outer layers often state only that something failed.
pub(crate) fn root_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
