//! An event that was posted by itself, without OTLP.

use serde::Serialize;
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;

/// An event of `POST /events`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PostedEvent {
    /// The id: the one given if it is a UUID, else one made here.
    pub id: String,
    /// `session_id` of the event, if it has one.
    pub session_id: Option<String>,
    /// `event_name` of the event, if it has one.
    pub name: Option<String>,
    /// The event as sent, with later enrichments merged in.
    pub body: Map<String, Value>,
    /// Which key delivered it.
    pub key: Fingerprint,
    /// Place in the order of arrival, over all projects.
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

    /// Merges an enrichment whose body was checked.
    pub(crate) fn enrich(&mut self, enrichment: Map<String, Value>) {
        for (name, value) in enrichment {
            match (name.as_str(), value) {
                ("event_id", _) | (_, Value::Null) => {}
                // Outputs are replaced by each enrichment, as those of sessions are.
                ("outputs", outputs) => {
                    self.body.insert(name, outputs);
                }
                (_, Value::Object(fields)) => {
                    let place = self.body.entry(name).or_insert_with(|| Value::Object(Map::new()));
                    match place.as_object_mut() {
                        Some(there) => there.extend(fields),
                        None => *place = Value::Object(fields),
                    }
                }
                (_, value) => {
                    self.body.insert(name, value);
                }
            }
        }
    }
}
