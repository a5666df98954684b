//! Redaction by the program.

use crate::selector::Selector;

/// Decides about texts before they are stored or sent. See
/// [`RegistryBuilder::redactor`](crate::RegistryBuilder::redactor).
pub trait Redactor: Send + Sync + 'static {
    /// Decides about one text, after the rules of the binding. Called on the threads that send, and
    /// in the gateway on those that receive. A panic drops the value.
    fn redact(&self, value: &Value<'_>) -> Decision;
}

/// A text that is about to be stored or sent.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Value<'a> {
    /// Selector of the tracer.
    pub selector: &'a Selector,
    /// Where the text is.
    pub place: Place<'a>,
    /// The text.
    pub text: &'a str,
}

/// Where a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place<'a> {
    /// The value of an attribute of a span, event, link, resource or scope, or of session data. Its
    /// key, or its path in a map or in session data: the keys with dots between them.
    Attribute(&'a str),
    /// The message of a span's status.
    Status,
    /// The name of a span or an event.
    Name,
}

/// What becomes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It stays.
    Keep,
    /// This text takes its place.
    Replace(String),
    /// The attribute is removed. A message becomes empty, and a name `[redacted]`.
    Drop,
}
