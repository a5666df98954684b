//! A session event that waits to be sent.

use serde_json::{Map, Value};

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
