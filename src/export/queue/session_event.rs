//! A session event that waits to be sent.

use serde_json::{Map, Value};
#[cfg(feature = "spool")]
use uuid::Uuid;

use super::byte_size;

/// A session event: the body of one message to the session API.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// `POST /session/start`
    Start(Value),
    /// `POST /events`
    #[cfg(feature = "encoded")]
    Single(Value),
    /// `PUT /events`
    Enrich(Map<String, Value>),
}

/// A session event as a row of the spool holds it.
#[cfg(feature = "spool")]
#[derive(Debug)]
#[allow(dead_code)]
pub(crate) struct SpooledEvent {
    /// The session, or the id of a single event that was posted to a session.
    pub(crate) id: Uuid,
    /// The session that the event is sent in the order of, unless that is `id`.
    pub(crate) within: Option<Uuid>,
    pub(crate) event: SessionEvent,
    /// Whether the rules of redaction were applied.
    pub(crate) is_redacted: bool,
}

impl SessionEvent {
    /// Returns the estimated memory of the event in bytes, including its heap data.
    pub(crate) fn byte_size(&self) -> usize {
        let inside = match self {
            Self::Start(body) => byte_size::json(body),
            #[cfg(feature = "encoded")]
            Self::Single(body) => byte_size::json(body),
            Self::Enrich(delta) => byte_size::table(delta),
        };
        size_of::<Self>() + inside
    }
}
