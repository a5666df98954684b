//! The JSON Schema of the configuration, generated from the types it is read into.

use std::collections::BTreeMap;

use schemars::{JsonSchema, json_schema as schema};
use serde_json::Value;

use crate::config::settings::document::Document;

/// The JSON Schema (draft 2020-12) that a configuration file satisfies.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
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
    match schema {
        Value::Object(entries) => entries.values_mut().for_each(without_null),
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Bindings by name, with the rules of names. The wildcard is allowed where it has a meaning.
fn by_name(generator: &mut schemars::SchemaGenerator, wildcard: bool) -> schemars::Schema {
    let mut bindings = generator.subschema_for::<BTreeMap<String, crate::config::Binding>>();
    let name =
        serde_json::json!({ "pattern": r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", "not": { "pattern": r"\.\." } });
    let names = if wildcard {
        serde_json::json!({ "anyOf": [{ "const": crate::config::settings::document::WILDCARD }, name] })
    } else {
        name
    };
    bindings.insert("propertyNames".to_owned(), names);
    bindings
}

pub(crate) fn names(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    by_name(generator, false)
}

pub(crate) fn names_and_wildcard(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    by_name(generator, true)
}

/// Resource attributes are single values.
pub(crate) fn attributes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

/// Where a key comes from, as written. A literal key is refused.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "describes the written form; read.rs reads it with an error for each mistake"
)]
pub(crate) enum KeySource {
    /// An environment variable of the process.
    Env {
        /// The variable's name.
        env: String,
    },
    /// A file; one newline at its end is not part of the key.
    File {
        /// The path; a relative one is taken from the folder of the configuration file.
        file: String,
    },
    /// A systemd credential, by name.
    Credential {
        /// The credential's name in `$CREDENTIALS_DIRECTORY`.
        credential: String,
    },
    /// A command that prints the key, run without a shell, in a process group of its own; Unix only.
    Exec {
        /// The program and its arguments.
        #[schemars(length(min = 1))]
        exec: Vec<String>,
        /// How long it may take before it is killed. Default: 10s.
        timeout: Option<String>,
        /// How long what it printed holds: it is run again when three quarters of that are over. Default: it is run again where a receiver
        /// refuses the key.
        lifetime: Option<String>,
        /// Variables of the process that it gets beside `PATH`, `HOME` and `LANG`, such as `VAULT_TOKEN`. Default: none.
        #[schemars(default)]
        pass_env: Vec<String>,
        /// Whether an error shows the start of its standard error. Default: false, its exit status alone.
        #[schemars(default)]
        show_stderr: bool,
    },
    /// A secret source that the program gave to the registry's builder.
    Provider {
        /// The source's name.
        provider: String,
        /// The secret's name in it.
        name: String,
    },
}

/// What requests go through, as written.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "describes the written form; read.rs reads it with an error for each mistake"
)]
pub(crate) enum Proxy {
    /// A proxy by its URL.
    Url {
        /// The proxy's URL, such as `http://proxy.example:3128`, without user and password.
        url: String,
        /// Where `user:password` comes from. Default: none are sent.
        credentials: Option<KeySource>,
    },
    /// The proxy that a variable of the process names; none where it is not set.
    Env {
        /// The variable's name, such as `HTTPS_PROXY`.
        env: String,
        /// Where `user:password` comes from. Default: none are sent.
        credentials: Option<KeySource>,
    },
}
