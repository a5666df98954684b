//! JSON Schema of the configuration, generated from its types.

use serde_json::{Value, json};

use crate::config::settings::document::Document;

/// Returns the JSON Schema (draft 2020-12) of a configuration file.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    schema["$defs"]["Duration"] = json!({
        "description": "A duration: `500ms`, `1s`, `5m`, `1h 30m`.",
        "examples": ["500ms", "1s", "5m"],
        "type": "string",
    });
    without_null(&mut schema);
    schema
}

/// Removes null from optional settings, because TOML has none and the reader refuses it.
fn without_null(schema: &mut Value) {
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        if let [only] = choices.as_mut_slice() {
            let only = only.take();
            let entries = schema.as_object_mut().expect("an object with anyOf");
            entries.remove("anyOf");
            entries.extend(only.as_object().cloned().unwrap_or_default());
        }
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            schema["type"] = only.take();
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema
            .as_object_mut()
            .expect("an object with a default")
            .remove("default");
    }
    match schema {
        Value::Object(entries) => entries.values_mut().for_each(without_null),
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
