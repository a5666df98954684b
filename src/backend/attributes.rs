//! What a backend calls sessions, sources, metadata and the data of LLM work.

#[cfg(test)]
mod tests;

use opentelemetry::{KeyValue, Value};
use serde_json::Value as Json;

use super::flatten::Flattened;

/// What kind of work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A call of a model.
    Model,
    /// A call of a tool, and all that is neither of the others.
    Tool,
    /// Several steps: an agent or a workflow.
    Chain,
}

/// A part of the data of a span or of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPart {
    Inputs,
    Outputs,
    Metadata,
    Metrics,
    Feedback,
    Config,
    /// Of sessions only.
    UserProperties,
}

/// The names of a backend.
#[derive(Debug)]
pub(crate) struct Spelling {
    /// The attribute with the session's id.
    pub(crate) session_id: &'static str,
    /// The attribute with the source; without one it is the resource's `deployment.environment.name`.
    pub(crate) source: Option<&'static str>,
    /// The prefix of a binding's metadata on every span; without one it is on the resource, under `tracer_registry.metadata.`.
    pub(crate) metadata: Option<&'static str>,
    /// The attribute with the session's name, if no call starts it at the backend.
    pub(crate) session_name: &'static str,
    /// The attribute that makes the backend make the session.
    pub(crate) session_auto_create: Option<&'static str>,
    /// What is before the part's name in the attributes of a span's data.
    data: &'static str,
    /// The prefix of a span's metadata, where it is another.
    span_metadata: Option<&'static str>,
    /// Data that has a name of its own.
    conventions: &'static [Convention],
    /// What is before the part's name in the attributes of a session's data.
    session_data: &'static str,
    /// The prefix of a session's metadata, where it is another.
    session_metadata: Option<&'static str>,
    /// The attribute with a span's event type.
    event_type: &'static str,
    /// Model, tool and chain in that attribute.
    event_types: [&'static str; 3],
    /// Whether a span without an event type gets one.
    pub(super) needs_event_type: bool,
    /// The attributes with an error's message and its type, besides OpenTelemetry's.
    error: Option<[&'static str; 2]>,
}

/// Data of one key that has a name of its own.
#[derive(Debug)]
struct Convention(DataPart, &'static str, &'static str, Form);

/// What the value of a [`Convention`] is.
#[derive(Clone, Copy, Debug)]
enum Form {
    Any,
    Double,
    Texts,
    Json,
}

/// Attributes to be set on a span, and how many values were left out of them or shortened.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) cut: u64,
}

/// <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/registry/attributes/gen-ai.md>, all of it in development.
/// Messages are structured where the API has structured attributes, else JSON; OpenTelemetry for Rust has none.
const GEN_AI: &[Convention] = {
    use DataPart::{Config, Inputs, Metrics, Outputs};
    use Form::{Any, Double, Json, Texts};

    &[
        Convention(Inputs, "messages", "gen_ai.input.messages", Json),
        Convention(Inputs, "system_instructions", "gen_ai.system_instructions", Json),
        Convention(Outputs, "messages", "gen_ai.output.messages", Json),
        Convention(Metrics, "input_tokens", "gen_ai.usage.input_tokens", Any),
        Convention(Metrics, "output_tokens", "gen_ai.usage.output_tokens", Any),
        Convention(Config, "model", "gen_ai.request.model", Any),
        Convention(Config, "temperature", "gen_ai.request.temperature", Double),
        Convention(Config, "top_p", "gen_ai.request.top_p", Double),
        Convention(Config, "top_k", "gen_ai.request.top_k", Any),
        Convention(Config, "max_tokens", "gen_ai.request.max_tokens", Any),
        Convention(Config, "frequency_penalty", "gen_ai.request.frequency_penalty", Double),
        Convention(Config, "presence_penalty", "gen_ai.request.presence_penalty", Double),
        Convention(Config, "stop_sequences", "gen_ai.request.stop_sequences", Texts),
        Convention(Config, "seed", "gen_ai.request.seed", Any),
        Convention(Config, "stream", "gen_ai.request.stream", Any),
        Convention(Config, "choice.count", "gen_ai.request.choice.count", Any),
        Convention(Config, "encoding_formats", "gen_ai.request.encoding_formats", Texts),
    ]
};

impl Spelling {
    /// OpenTelemetry's semantic conventions, and names of our own where they have none.
    pub(super) const PLAIN: Self = Self {
        session_id: "session.id",
        source: None,
        metadata: None,
        session_name: "tracer_registry.session.name",
        session_auto_create: None,
        data: "tracer_registry.",
        span_metadata: None,
        conventions: GEN_AI,
        session_data: "tracer_registry.session.",
        session_metadata: None,
        event_type: "gen_ai.operation.name",
        event_types: ["chat", "execute_tool", "invoke_workflow"],
        needs_event_type: false,
        error: None,
    };

    pub(super) const HONEYHIVE: Self = Self {
        session_id: "honeyhive.session_id",
        source: Some("honeyhive.source"),
        metadata: Some("honeyhive_metadata."),
        data: "honeyhive_",
        span_metadata: None,
        conventions: &[],
        session_data: "honeyhive_",
        session_metadata: None,
        session_name: "honeyhive.session_name",
        session_auto_create: Some("honeyhive.session_auto_create"),
        event_type: "honeyhive_event_type",
        event_types: ["model", "tool", "chain"],
        needs_event_type: true,
        error: Some(["honeyhive_error", "honeyhive_error_type"]),
    };

    /// Trace-level attributes are to be on every span, and the data of one span is the observation's.
    pub(super) const LANGFUSE: Self = Self {
        session_id: "langfuse.session.id",
        metadata: Some("langfuse.trace.metadata."),
        span_metadata: Some("langfuse.observation.metadata."),
        session_data: "langfuse.trace.metadata.",
        session_metadata: Some("langfuse.trace.metadata."),
        ..Self::PLAIN
    };

    pub(super) const LANGSMITH: Self = Self {
        session_id: "langsmith.metadata.session_id",
        metadata: Some("langsmith.metadata."),
        span_metadata: Some("langsmith.metadata."),
        session_data: "langsmith.metadata.",
        session_metadata: Some("langsmith.metadata."),
        ..Self::PLAIN
    };

    /// The prefix of a part of a session's data, if the session's spans carry it as attributes.
    pub(crate) fn session_part(&self, part: DataPart) -> String {
        match (part, self.session_metadata) {
            (DataPart::Metadata, Some(prefix)) => prefix.to_owned(),
            _ => format!("{}{}.", self.session_data, part.name()),
        }
    }

    /// The attribute with a session's duration in milliseconds, if spans carry it.
    pub(crate) fn session_duration(&self) -> String {
        format!("{}duration_ms", self.session_data)
    }

    /// Entries of a part of a span's data.
    pub(crate) fn span_data<'a>(
        &self,
        part: DataPart,
        entries: impl IntoIterator<Item = (&'a str, &'a Json)>,
    ) -> Spelled {
        let mut spelled = Spelled::default();
        let mut flattened = Flattened::new(&mut spelled.attributes);
        for (key, value) in entries {
            let known = self.conventions.iter().find(|known| known.0 == part && known.1 == key);
            match (known, part, self.span_metadata) {
                (Some(Convention(_, _, name, form)), ..) => match form {
                    Form::Any => flattened.flat((*name).to_owned(), value),
                    Form::Double => flattened.double(name, value),
                    Form::Texts => flattened.texts(name, value),
                    Form::Json => flattened.json(name, value),
                },
                (None, DataPart::Metadata, Some(prefix)) => flattened.flat(format!("{prefix}{key}"), value),
                (None, ..) => flattened.flat(format!("{}{}.{key}", self.data, part.name()), value),
            }
        }
        spelled.cut = flattened.cut;
        spelled
    }

    pub(crate) fn event_type(&self, event_type: EventType) -> KeyValue {
        KeyValue::new(self.event_type, self.event_types[event_type as usize])
    }

    /// Whether an attribute is the one with the event type.
    pub(super) fn is_event_type(&self, attribute: &KeyValue) -> bool {
        attribute.key.as_str() == self.event_type
    }

    pub(crate) fn error(&self, message: &str, type_name: &'static str) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new("error.type", type_name)];
        if let Some([message_key, type_key]) = self.error {
            attributes.push(KeyValue::new(message_key, Value::String(message.to_owned().into())));
            attributes.push(KeyValue::new(type_key, type_name));
        }
        attributes
    }
}

impl DataPart {
    /// All parts there are.
    pub(crate) const ALL: [Self; 7] = [
        Self::Inputs,
        Self::Outputs,
        Self::Metadata,
        Self::Metrics,
        Self::Feedback,
        Self::Config,
        Self::UserProperties,
    ];

    /// What it is called in an enrichment, and in the names of attributes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::Metadata => "metadata",
            Self::Metrics => "metrics",
            Self::Feedback => "feedback",
            Self::Config => "config",
            Self::UserProperties => "user_properties",
        }
    }
}
