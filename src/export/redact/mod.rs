//! Redaction of the program's data, before it is encoded: spans of the SDK, and session events.
//!
//! Everything is changed in place and once: a value that became a hash must not be hashed again.
//! Encoded requests of clients are redacted by `payload`.

mod session;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use session::event;
pub(crate) use span::{attributes, span};
