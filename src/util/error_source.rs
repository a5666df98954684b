//! Errors of any type, and what caused them.

use std::error::Error;

/// An error of any type that other threads may see.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the cause at the bottom: often the layers above it only say that something failed.
pub(crate) fn root_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
