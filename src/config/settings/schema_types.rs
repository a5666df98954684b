//! Types that describe, for the schema alone, the syntax of values with a custom parser.
#![expect(dead_code, reason = "describes syntax that other code parses")]

use schemars::{JsonSchema, json_schema as schema};

/// Source of a key. A literal key is refused.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
pub(crate) enum KeySource {
    /// An environment variable.
    Env {
        /// Name of the variable.
        env: String,
    },
    /// A file. One newline at its end is not part of the key.
    File {
        /// Path; relative paths start at the folder of the configuration file.
        file: String,
    },
    /// A systemd credential.
    Credential {
        /// Name of the credential in `$CREDENTIALS_DIRECTORY`.
        credential: String,
    },
    /// A command that prints the key, run without a shell in its own process group. Unix only.
    Exec {
        /// Program and arguments.
        #[schemars(length(min = 1))]
        exec: Vec<String>,
        /// Maximum run time before it is killed. Default: 10s.
        timeout: Option<String>,
        /// How long the printed key is valid. The command runs again after three quarters of that
        /// time. Default: it runs again if a receiver refuses the key.
        lifetime: Option<String>,
        /// Variables to pass in addition to `PATH`, `HOME` and `LANG`, such as `VAULT_TOKEN`.
        /// Default: none.
        #[schemars(default)]
        pass_env: Vec<String>,
        /// Whether an error shows the start of its standard error. Default: false, only its exit
        /// status.
        #[schemars(default)]
        show_stderr: bool,
    },
    /// A secret source that the program gave to the registry's builder.
    Provider {
        /// Name of the source.
        provider: String,
        /// Name of the secret in that source.
        name: String,
    },
}

/// Proxy for requests.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
pub(crate) enum Proxy {
    /// A proxy with a fixed URL.
    Url {
        /// URL of the proxy, such as `http://proxy.example:3128`, without user and password.
        url: String,
        /// Source of `user:password`. Default: none are sent.
        credentials: Option<KeySource>,
    },
    /// A proxy with the URL in an environment variable. No proxy if it is unset.
    Env {
        /// Name of the variable, such as `HTTPS_PROXY`.
        env: String,
        /// Source of `user:password`. Default: none are sent.
        credentials: Option<KeySource>,
    },
}

/// A duration, or `never`.
#[derive(JsonSchema)]
#[schemars(extend("examples" = ["30m", "never"]))]
pub(crate) struct IdleTimeout(String);

/// Resource attributes are single values.
pub(crate) fn attributes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

/// A size: `"64MiB"`, `"500kB"`, or a number of bytes.
#[derive(JsonSchema)]
#[schemars(untagged, extend("examples" = ["64MiB", "500kB", 67_108_864]))]
pub(crate) enum Size {
    Text(String),
    Bytes(u64),
}
