//! What becomes of a value.

/// Text in place of what was removed.
pub(crate) const REDACTED: &str = "[redacted]";

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Replace(String),
    /// Removes the attribute. A text that is no attribute becomes empty, and a name
    /// [`REDACTED`].
    Drop,
}
