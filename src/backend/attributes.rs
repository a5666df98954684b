//! Names of a backend's attributes for sessions, sources, metadata and LLM data.

#[cfg(test)]
mod tests;

use opentelemetry::{KeyValue, Value};
use serde_json::Value as Json;

use super::flatten::Flattened;

/// Kind of work that a span represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A call of a model.
    Model,
    /// A call of a tool, and any other work.
    Tool,
    /// Several steps, such as an agent or a workflow.
    Chain,
}

/// Part of the data of a span or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPart {
    Inputs,
    Outputs,
    Metadata,
    Metrics,
    Feedback,
    Config,
    /// Only for sessions.
    UserProperties,
}

/// Attribute names and prefixes of a backend.
#[derive(Debug)]
pub(crate) struct AttributeNames {
    /// Attribute with the session's id.
    pub(crate) session_id: &'static str,
    /// Attribute with the source. If `None`, the source is the resource's
    /// `deployment.environment.name`.
    pub(crate) source: Option<&'static str>,
    /// Prefix of a binding's metadata on every span. If `None`, the metadata is on the resource,
    /// under `tracer_registry.metadata.`.
    pub(crate) metadata: Option<&'static str>,
    /// Attribute with the session's name, if no API call starts the session.
    pub(crate) session_name: &'static str,
    /// Attribute that makes the backend create the session.
    pub(crate) session_auto_create: Option<&'static str>,
    /// Prefix of a span's data, before the part's name.
    data: &'static str,
    /// Prefix of a span's metadata, if it differs from `data`.
    span_metadata: Option<&'static str>,
    /// Data with conventional attribute names.
    conventions: &'static [Convention],
    /// Prefix of a session's data, before the part's name.
    session_data: &'static str,
    /// Prefix of a session's metadata, if it differs from `session_data`.
    session_metadata: Option<&'static str>,
    /// Attribute with a span's event type.
    event_type: &'static str,
    /// Values of that attribute for model, tool and chain.
    event_types: [&'static str; 3],
    /// Whether spans without an event type get one.
    pub(super) needs_event_type: bool,
    /// Attributes with an error's message and type, in addition to OpenTelemetry's.
    error: Option<[&'static str; 2]>,
}

/// Part and key of data, and the attribute name and value type that conventions define for it.
#[derive(Debug)]
struct Convention(DataPart, &'static str, &'static str, ValueType);

/// Type of a [`Convention`]'s value.
#[derive(Clone, Copy, Debug)]
enum ValueType {
    Any,
    Double,
    Strings,
    Json,
}

/// Attributes to set on a span, and the number of values that were omitted or shortened.
#[derive(Debug, Default)]
pub(crate) struct SpanAttributes {
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) cut: u64,
}

/// <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/registry/attributes/gen-ai.md>,
/// in development. Messages are structured if the API supports structured attributes and JSON
/// otherwise; OpenTelemetry for Rust does not support them.
const GEN_AI: &[Convention] = {
    use DataPart::{Config, Inputs, Metrics, Outputs};
    use ValueType::{Any, Double, Json, Strings};

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
        Convention(Config, "stop_sequences", "gen_ai.request.stop_sequences", Strings),
        Convention(Config, "seed", "gen_ai.request.seed", Any),
        Convention(Config, "stream", "gen_ai.request.stream", Any),
        Convention(Config, "choice.count", "gen_ai.request.choice.count", Any),
        Convention(Config, "encoding_formats", "gen_ai.request.encoding_formats", Strings),
    ]
};

impl AttributeNames {
    /// OpenTelemetry's semantic conventions, with names of this crate for the rest.
    pub(super) const OPENTELEMETRY: Self = Self {
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

    pub(crate) const HONEYHIVE: Self = Self {
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

    /// Langfuse expects trace-level attributes on every span. A span's own data belongs to the
    /// observation.
    pub(super) const LANGFUSE: Self = Self {
        session_id: "langfuse.session.id",
        metadata: Some("langfuse.trace.metadata."),
        span_metadata: Some("langfuse.observation.metadata."),
        session_data: "langfuse.trace.metadata.",
        session_metadata: Some("langfuse.trace.metadata."),
        ..Self::OPENTELEMETRY
    };

    pub(super) const LANGSMITH: Self = Self {
        session_id: "langsmith.metadata.session_id",
        metadata: Some("langsmith.metadata."),
        span_metadata: Some("langsmith.metadata."),
        session_data: "langsmith.metadata.",
        session_metadata: Some("langsmith.metadata."),
        ..Self::OPENTELEMETRY
    };

    /// Returns the prefix of a part of session data, for sessions carried in span attributes.
    pub(crate) fn session_part(&self, part: DataPart) -> String {
        match (part, self.session_metadata) {
            (DataPart::Metadata, Some(prefix)) => prefix.to_owned(),
            _ => format!("{}{}.", self.session_data, part.name()),
        }
    }

    /// Returns the attribute with a session's duration in milliseconds, for sessions carried in
    /// span attributes.
    pub(crate) fn session_duration(&self) -> String {
        format!("{}duration_ms", self.session_data)
    }

    /// Converts entries of a part of span data to attributes.
    pub(crate) fn span_data<'a>(
        &self,
        part: DataPart,
        entries: impl IntoIterator<Item = (&'a str, &'a Json)>,
    ) -> SpanAttributes {
        let mut converted = SpanAttributes::default();
        let mut flattened = Flattened::new(&mut converted.attributes);
        for (key, value) in entries {
            let known = self.conventions.iter().find(|known| known.0 == part && known.1 == key);
            match (known, part, self.span_metadata) {
                (Some(Convention(_, _, name, value_type)), ..) => match value_type {
                    ValueType::Any => flattened.flat((*name).to_owned(), value),
                    ValueType::Double => flattened.double(name, value),
                    ValueType::Strings => flattened.strings(name, value),
                    ValueType::Json => flattened.json(name, value),
                },
                (None, DataPart::Metadata, Some(prefix)) => flattened.flat(format!("{prefix}{key}"), value),
                (None, ..) => flattened.flat(format!("{}{}.{key}", self.data, part.name()), value),
            }
        }
        converted.cut = flattened.cut;
        converted
    }

    /// Returns the starts of the names of flattened data: of a span, a session or a binding.
    #[cfg(all(test, feature = "redact"))]
    fn prefixes(&self) -> impl Iterator<Item = &'static str> {
        let optional = [self.span_metadata, self.session_metadata, self.metadata];
        let always = [self.data, self.session_data, "tracer_registry.metadata."];
        always.into_iter().chain(optional.into_iter().flatten())
    }

    pub(crate) fn event_type(&self, event_type: EventType) -> KeyValue {
        KeyValue::new(self.event_type, self.event_types[event_type as usize])
    }

    /// Returns the attribute with a span's event type.
    pub(crate) fn event_type_key(&self) -> &'static str {
        self.event_type
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
    /// All parts.
    pub(crate) const ALL: [Self; 7] = [
        Self::Inputs,
        Self::Outputs,
        Self::Metadata,
        Self::Metrics,
        Self::Feedback,
        Self::Config,
        Self::UserProperties,
    ];

    /// Returns the part's name, as in enrichments and attribute names.
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
