//! The JSON Schema of the configuration, generated from the types it is read into.

use serde_json::{Value, json};

use crate::config::settings::document::Document;

/// The JSON Schema (draft 2020-12) that a configuration file satisfies.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    schema["$defs"]["Duration"] = json!({
        "description": "A duration as people write it: `500ms`, `1s`, `5m`, `1h 30m`.",
        "examples": ["500ms", "1s", "5m"],
        "type": "string",
    });
    without_null(&mut schema);
    schema
}

/// What may be left out is left out: TOML has no null, and the reader takes none.
fn without_null(schema: &mut Value) {
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        if let [only] = choices.as_mut_slice() {
            let only = only.take();
            let said = schema.as_object_mut().expect("it has an anyOf");
            said.remove("anyOf");
            said.extend(only.as_object().cloned().unwrap_or_default());
        }
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            schema["type"] = only.take();
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.as_object_mut().expect("it has a default").remove("default");
    }
    match schema {
        Value::Object(entries) => entries.values_mut().for_each(without_null),
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
