//! One message about a session.

use serde_json::{Map, Value};

use super::byte_size;

/// One message about a session.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// `POST /session/start`
    Start(Value),
    /// `PUT /events`
    Enrich(Map<String, Value>),
}

impl SessionEvent {
    /// The bytes of the event and of what hangs on it.
    pub(crate) fn byte_size(&self) -> usize {
        let inside = match self {
            Self::Start(body) => byte_size::json(body),
            Self::Enrich(delta) => byte_size::table(delta),
        };
        size_of::<Self>() + inside
    }
}
