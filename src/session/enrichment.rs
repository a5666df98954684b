//! Data added to a session after its start.

use std::time::Duration;

use serde_json::{Map, Value};

use super::state::duration_part;
use crate::backend::DataPart;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

/// Data added to a session after its start. Only the parts that are set are sent.
///
/// The receiver merges all parts key by key, except `outputs` and `duration`, which it replaces.
///
/// Values are sent as JSON. A number without a JSON form becomes `"NaN"`, `"Infinity"` or
/// `"-Infinity"`, see [`IntoJson`]. An object or array nested more than 64 levels deep becomes
/// null. The receiver decides what a null means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrichment {
    pub(super) parts: Map<String, Value>,
}

impl Enrichment {
    /// Creates an empty enrichment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one metadata entry.
    pub fn metadata(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metadata, key, value)
    }

    /// Sets one feedback entry, such as a user's rating.
    pub fn feedback(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Feedback, key, value)
    }

    /// Sets one metric.
    pub fn metric(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metrics, key, value)
    }

    /// Sets one configuration entry, such as the model name.
    pub fn config(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Config, key, value)
    }

    /// Sets one user property.
    pub fn user_property(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::UserProperties, key, value)
    }

    /// Sets the duration of the session as the backend displays it.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.parts.extend(duration_part(duration));
        self
    }

    /// Replaces all earlier outputs. A value other than an object becomes the entry `result`.
    pub fn outputs(mut self, outputs: impl IntoJson) -> Self {
        let outputs = match bounded(outputs) {
            Value::Object(outputs) => outputs,
            other => Map::from_iter([("result".to_owned(), other)]),
        };
        self.parts
            .insert(DataPart::Outputs.name().to_owned(), Value::Object(outputs));
        self
    }

    fn entry(mut self, part: DataPart, key: impl Into<String>, value: impl IntoJson) -> Self {
        let entries = self
            .parts
            .entry(part.name())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(entries) = entries {
            entries.insert(key.into(), bounded(value));
        }
        self
    }
}
