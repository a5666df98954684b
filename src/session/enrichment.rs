//! What is learnt of a session after its start.

use std::time::Duration;

use serde_json::{Map, Value};

use super::state::duration_part;
use crate::backend::DataPart;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

/// What is learnt of a session after its start. Only what is given is sent.
///
/// The receiver merges all parts key by key, except `outputs` and `duration`, which it replaces.
///
/// Values are sent as JSON. A number that JSON has no form for is `"NaN"`, `"Infinity"` or `"-Infinity"`, see [`IntoJson`]. A table or list
/// that is nested more than 64 levels deep is null. The receiver decides what a null means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrichment {
    pub(super) parts: Map<String, Value>,
}

impl Enrichment {
    /// Returns an empty enrichment.
    pub fn new() -> Self {
        Self::default()
    }

    /// One entry of metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metadata, key, value)
    }

    /// One entry of feedback, such as a rating by the user.
    pub fn feedback(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Feedback, key, value)
    }

    /// One metric.
    pub fn metric(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metrics, key, value)
    }

    /// One entry of configuration, such as the model's name.
    pub fn config(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Config, key, value)
    }

    /// One property of the user.
    pub fn user_property(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::UserProperties, key, value)
    }

    /// How long the session took, which the backend shows with it.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.parts.extend(duration_part(duration));
        self
    }

    /// The outputs, in place of all earlier outputs. A table; any other value is put into one, as `result`.
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
