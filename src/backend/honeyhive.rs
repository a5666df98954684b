//! HoneyHive's session API and event types.
//!
//! A session is an event with the session's id. This crate generates the id and `start` is
//! idempotent, so nothing waits for a response. The server merges enrichments as they arrive,
//! except `outputs`, which it replaces. Their order therefore matters.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::attributes::EventType;

pub(super) const START_PATH: &str = "/session/start";
pub(super) const EVENTS_PATH: &str = "/events";

/// Data that a session starts with.
pub(crate) struct SessionStart<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) source: Option<&'a str>,
    pub(crate) inputs: &'a Map<String, Value>,
    pub(crate) metadata: &'a Map<String, Value>,
    pub(crate) user_properties: &'a Map<String, Value>,
}

/// Returns the body of `POST /session/start`. Omits empty parts.
pub(crate) fn start_body(start: &SessionStart<'_>) -> Value {
    let mut session = Map::new();
    session.insert("session_id".into(), start.id.into());
    session.insert("session_name".into(), start.name.into());
    if let Some(source) = start.source {
        session.insert("source".into(), source.into());
    }
    for (name, part) in [
        ("inputs", start.inputs),
        ("metadata", start.metadata),
        ("user_properties", start.user_properties),
    ] {
        if !part.is_empty() {
            session.insert(name.into(), Value::Object(part.clone()));
        }
    }
    json!({ "session": session })
}

/// Returns the body of `PUT /events`, which holds only the changed parts.
pub(crate) fn enrich_body(id: &str, mut delta: Map<String, Value>) -> Map<String, Value> {
    delta.insert("event_id".into(), id.into());
    delta
}

/// Returns the event type for a span without one, derived from the operation that its
/// instrumentation recorded. `text` returns the span's attribute of a key.
pub(crate) fn event_type<'a>(text: impl Fn(&str) -> Option<Cow<'a, str>>) -> EventType {
    match text("gen_ai.operation.name").as_deref() {
        Some("chat" | "text_completion" | "generate_content" | "embeddings") => return EventType::Model,
        Some("invoke_agent" | "create_agent" | "invoke_workflow") => return EventType::Chain,
        Some("execute_tool" | "retrieval") => return EventType::Tool,
        // An operation that HoneyHive has no type for is ignored.
        _ => {}
    }
    match text("openinference.span.kind").as_deref() {
        Some("LLM") => EventType::Model,
        Some("CHAIN" | "AGENT") => EventType::Chain,
        _ => EventType::Tool,
    }
}

#[cfg(test)]
mod tests {
    use super::EventType::{Chain, Model, Tool};
    use super::*;

    #[test]
    fn the_event_type_comes_from_the_operation_and_never_from_the_name() {
        let typed = |attributes: &[(&'static str, &'static str)]| {
            event_type(|key| {
                let found = attributes.iter().find(|(name, _)| *name == key)?;
                Some(Cow::Borrowed(found.1))
            })
        };
        for (operations, expected) in [
            (
                &["chat", "text_completion", "generate_content", "embeddings"][..],
                Model,
            ),
            (&["invoke_agent", "create_agent", "invoke_workflow"], Chain),
            (&["execute_tool", "retrieval", "something_new"], Tool),
        ] {
            for operation in operations {
                assert_eq!(typed(&[("gen_ai.operation.name", operation)]), expected, "{operation}");
            }
        }
        for (kind, expected) in [
            ("LLM", Model),
            ("CHAIN", Chain),
            ("AGENT", Chain),
            ("EMBEDDING", Tool),
            ("TOOL", Tool),
        ] {
            assert_eq!(typed(&[("openinference.span.kind", kind)]), expected, "{kind}");
        }
        let both = |operation| typed(&[("openinference.span.kind", "LLM"), ("gen_ai.operation.name", operation)]);
        assert_eq!(both("retrieval"), Tool, "the operation takes precedence");
        assert_eq!(both("something_new"), Model);
        assert_eq!(typed(&[("name", "app.models.load_user")]), Tool);
    }
}
