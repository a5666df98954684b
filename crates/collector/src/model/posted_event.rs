//! An event posted without OTLP.

use serde::Serialize;
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;

/// An event posted to `POST /events`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PostedEvent {
    /// Id of the event if it is a UUID, otherwise a generated one.
    pub id: String,
    /// `session_id` of the event, if present.
    pub session_id: Option<String>,
    /// `event_name` of the event, if present.
    pub name: Option<String>,
    /// The event as sent, merged with later enrichments.
    pub body: Map<String, Value>,
    /// Fingerprint of the key that delivered it.
    pub key: Fingerprint,
    /// Position in the order of arrival, over all projects.
    pub sequence: u64,
}

impl PostedEvent {
    pub(crate) fn new(id: String, body: Map<String, Value>, key: Fingerprint, sequence: u64) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id,
            session_id: text("session_id"),
            name: text("event_name"),
            body,
            key,
            sequence,
        }
    }

    /// Merges a validated enrichment.
    pub(crate) fn enrich(&mut self, enrichment: Map<String, Value>) {
        for (name, value) in enrichment {
            match (name.as_str(), value) {
                ("event_id", _) | (_, Value::Null) => {}
                // An enrichment replaces outputs, as in sessions.
                ("outputs", outputs) => {
                    self.body.insert(name, outputs);
                }
                (_, Value::Object(fields)) => {
                    let entry = self.body.entry(name).or_insert_with(|| Value::Object(Map::new()));
                    match entry.as_object_mut() {
                        Some(existing) => existing.extend(fields),
                        None => *entry = Value::Object(fields),
                    }
                }
                (_, value) => {
                    self.body.insert(name, value);
                }
            }
        }
    }
}
