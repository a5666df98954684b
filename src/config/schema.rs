//! The JSON Schema of the configuration, generated from the types it is read into.

use schemars::JsonSchema;

use super::document::Document;

/// The JSON Schema (draft 2020-12) that a configuration file satisfies.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// Where a key comes from, as written. A literal key is refused.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "describes the written form; read.rs reads it with an error for each mistake"
)]
pub(super) enum KeySource {
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
    /// A command that prints the key, run without a shell.
    Exec {
        /// The program and its arguments.
        #[schemars(length(min = 1))]
        exec: Vec<String>,
        /// How long it may take. Default: 10s.
        timeout: Option<String>,
    },
    /// A secret source that the program gave to the registry's builder.
    Provider {
        /// The source's name.
        provider: String,
        /// The secret's name in it.
        name: String,
    },
}
