//! How sessions, source and metadata are spelled as attributes, and values as OpenTelemetry has them.

use opentelemetry::{KeyValue, Value};
use serde_json::Value as Json;

/// How deep metadata may be nested; what is deeper is left out.
const MAX_DEPTH: usize = 16;

/// The names of a backend for what every span carries.
#[derive(Debug)]
pub(crate) struct Spelling {
    /// The attribute with the session's id.
    pub(crate) session_id: &'static str,
    /// The attribute with the source; without one it is the resource's `deployment.environment.name`.
    pub(crate) source: Option<&'static str>,
    /// The prefix of a binding's metadata on every span; without one it is on the resource, under `tracer_registry.metadata.`.
    pub(crate) metadata: Option<&'static str>,
    /// The prefix of a session's metadata on the session's spans, where the backend has no sessions of its own.
    pub(crate) session_metadata: Option<&'static str>,
    /// The attribute with the session's name, where nothing else tells the backend of the session.
    pub(crate) session_name: &'static str,
    /// The attribute that makes the backend make the session.
    pub(crate) session_auto_create: Option<&'static str>,
    /// The attribute with a span's event type.
    pub(crate) event_type: Option<&'static str>,
}

impl Spelling {
    /// OpenTelemetry's semantic conventions, and names of our own where they have none.
    pub(super) const PLAIN: Self = Self {
        session_id: "session.id",
        source: None,
        metadata: None,
        session_metadata: Some("tracer_registry.session."),
        session_name: "tracer_registry.session.name",
        session_auto_create: None,
        event_type: None,
    };

    pub(super) const HONEYHIVE: Self = Self {
        session_id: "honeyhive.session_id",
        source: Some("honeyhive.source"),
        metadata: Some("honeyhive_metadata."),
        session_metadata: None,
        session_name: "honeyhive.session_name",
        session_auto_create: Some("honeyhive.session_auto_create"),
        event_type: Some("honeyhive_event_type"),
    };

    /// Trace-level attributes are to be on every span.
    pub(super) const LANGFUSE: Self = Self {
        session_id: "langfuse.session.id",
        metadata: Some("langfuse.trace.metadata."),
        session_metadata: Some("langfuse.trace.metadata."),
        ..Self::PLAIN
    };

    pub(super) const LANGSMITH: Self = Self {
        session_id: "langsmith.metadata.session_id",
        metadata: Some("langsmith.metadata."),
        session_metadata: Some("langsmith.metadata."),
        ..Self::PLAIN
    };
}

impl Spelling {
    pub(crate) fn session_part(&self, part: &str) -> String {
        format!("{}{part}.", self.session_metadata.unwrap_or("tracer_registry.session."))
    }
}

/// A JSON value as attributes: nested tables with dotted keys, a list's index as a key, nulls left out.
pub(crate) fn flatten(prefix: &str, value: &Json, attributes: &mut Vec<KeyValue>) {
    flatten_to(prefix, value, MAX_DEPTH, attributes);
}

fn flatten_to(key: &str, value: &Json, depth: usize, attributes: &mut Vec<KeyValue>) {
    let join = |part: &dyn std::fmt::Display| {
        if key.ends_with('.') {
            format!("{key}{part}")
        } else {
            format!("{key}.{part}")
        }
    };
    match value {
        Json::Object(fields) if depth > 0 => {
            fields
                .iter()
                .for_each(|(name, value)| flatten_to(&join(name), value, depth - 1, attributes));
        }
        Json::Array(items) if depth > 0 => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten_to(&join(&index), item, depth - 1, attributes));
        }
        other => attributes.extend(to_otel(other).map(|value| KeyValue::new(key.to_owned(), value))),
    }
}

/// A text, number or boolean as OpenTelemetry has it.
pub(crate) fn to_otel(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(boolean) => Some(Value::Bool(*boolean)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::I64(integer),
            (None, Some(float)) => Value::F64(float),
            (None, None) => Value::String(number.to_string().into()),
        }),
        Json::String(text) => Some(Value::String(text.clone().into())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_become_dotted_keys_and_nulls_are_left_out() {
        let mut attributes = Vec::new();
        flatten(
            "honeyhive_metadata.",
            &json!({"n": {"deep": [7, "x"]}, "none": null, "ok": true, "f": 1.5}),
            &mut attributes,
        );
        let mut shown: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "honeyhive_metadata.f=1.5",
                "honeyhive_metadata.n.deep.0=7",
                "honeyhive_metadata.n.deep.1=x",
                "honeyhive_metadata.ok=true"
            ]
        );
    }
}
