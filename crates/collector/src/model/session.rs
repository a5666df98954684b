//! A session: its starts and enrichments, merged like in the hosted service.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::span::Attributes;

/// A session of a project. The same id in another project is another session.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Session {
    /// Id of the session and of its event.
    pub id: String,
    /// Event that created the session.
    pub origin: SessionOrigin,
    /// Name of the first start that has one.
    pub name: Option<String>,
    /// Source of the first start that has one.
    pub source: Option<String>,
    /// Inputs, merged.
    pub inputs: Attributes,
    /// Outputs of the last call that has them.
    pub outputs: Attributes,
    /// Metadata, merged.
    pub metadata: Attributes,
    /// User properties, merged.
    pub user_properties: Attributes,
    /// Feedback, merged.
    pub feedback: Attributes,
    /// Metrics, merged.
    pub metrics: Attributes,
    /// Configuration, merged.
    pub config: Attributes,
    /// Duration in milliseconds, from the last call that has it.
    pub duration_millis: Option<f64>,
    /// Starts and enrichments in order of arrival, with their bodies as sent.
    pub operations: Vec<Operation>,
    /// Position of its creation in the order of arrival, over all projects.
    pub sequence: u64,
}

/// Event that created a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionOrigin {
    /// A start.
    Started,
    /// A span with automatic session creation. No start was received.
    AutoCreated,
    /// An enrichment. No start was received, so the sender's order is wrong.
    EnrichedOnly,
}

/// A start or enrichment of a session.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// Kind of the call.
    pub kind: OperationKind,
    /// For a start, the session object; for an enrichment, the whole body.
    pub body: Value,
    /// Position in the order of arrival, over all projects.
    pub sequence: u64,
}

/// Kind of an [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperationKind {
    /// `POST /session/start` or `POST /v1/sessions`
    Start,
    /// `PUT /events`
    Enrich,
}

impl Session {
    pub(crate) fn new(id: String, origin: SessionOrigin, sequence: u64) -> Self {
        Self {
            id,
            origin,
            name: None,
            source: None,
            inputs: Attributes::new(),
            outputs: Attributes::new(),
            metadata: Attributes::new(),
            user_properties: Attributes::new(),
            feedback: Attributes::new(),
            metrics: Attributes::new(),
            config: Attributes::new(),
            duration_millis: None,
            operations: Vec::new(),
            sequence,
        }
    }

    /// Merges a call with a body that [`check`] accepted.
    pub(crate) fn apply(&mut self, kind: OperationKind, body: Map<String, Value>, sequence: u64) {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        if kind == OperationKind::Start {
            self.origin = SessionOrigin::Started;
            self.name = self.name.take().or_else(|| text("session_name"));
            self.source = self.source.take().or_else(|| text("source"));
        }
        let merge = |into: &mut Attributes, name: &str| {
            into.extend(object(&body, name).map(|(key, value)| (key.clone(), value.clone())));
        };
        merge(&mut self.inputs, "inputs");
        merge(&mut self.metadata, "metadata");
        merge(&mut self.user_properties, "user_properties");
        merge(&mut self.feedback, "feedback");
        merge(&mut self.metrics, "metrics");
        merge(&mut self.config, "config");
        if body.get("outputs").is_some_and(Value::is_object) {
            self.outputs.clear();
            merge(&mut self.outputs, "outputs");
        }
        self.duration_millis = body.get("duration").and_then(Value::as_f64).or(self.duration_millis);
        self.operations.push(Operation {
            kind,
            body: Value::Object(body),
            sequence,
        });
    }
}

fn object<'a>(body: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    body.get(name).and_then(Value::as_object).into_iter().flatten()
}

/// Checks the types of the fields that sessions and events share. A `null` field counts as absent.
/// Returns an error for the first wrong field.
pub(crate) fn check(body: &Map<String, Value>) -> Result<(), String> {
    for name in [
        "inputs",
        "outputs",
        "metadata",
        "user_properties",
        "feedback",
        "metrics",
        "config",
    ] {
        if body
            .get(name)
            .is_some_and(|value| !value.is_object() && !value.is_null())
        {
            return Err(format!("{name} must be an object"));
        }
    }
    match body.get("duration") {
        Some(value) if !value.is_number() && !value.is_null() => Err("duration must be a number".to_owned()),
        _ => Ok(()),
    }
}

/// Returns the given id in canonical form, or a new one if it is missing or not a UUID.
pub(crate) fn id_or_new(given: Option<&Value>) -> String {
    let given = given.and_then(Value::as_str).and_then(uuid);
    given.unwrap_or_else(Uuid::new_v4).hyphenated().to_string()
}

/// Returns a UUID in lower case, and any other id unchanged.
pub(crate) fn canonical(id: &str) -> String {
    uuid(id).map_or_else(|| id.to_owned(), |uuid| uuid.hyphenated().to_string())
}

/// Parses a UUID in hyphenated form. Other forms are not accepted.
fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}
