//! How values are written that their types do not show: for the schema alone.
#![expect(
    dead_code,
    reason = "describes what is read elsewhere, with an error for each mistake"
)]

use schemars::{JsonSchema, json_schema as schema};

/// Where a key comes from, as written. A literal key is refused.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
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
    /// A command that prints the key, run without a shell, in a process group of its own; Unix
    /// only.
    Exec {
        /// The program and its arguments.
        #[schemars(length(min = 1))]
        exec: Vec<String>,
        /// How long it may take before it is killed. Default: 10s.
        timeout: Option<String>,
        /// How long what it printed holds: it is run again when three quarters of that are over.
        /// Default: it is run again if a receiver refuses the key.
        lifetime: Option<String>,
        /// Variables of the process that it gets beside `PATH`, `HOME` and `LANG`, such as
        /// `VAULT_TOKEN`. Default: none.
        #[schemars(default)]
        pass_env: Vec<String>,
        /// Whether an error shows the start of its standard error. Default: false, its exit status
        /// alone.
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
pub(crate) enum Proxy {
    /// A proxy by its URL.
    Url {
        /// The proxy's URL, such as `http://proxy.example:3128`, without user and password.
        url: String,
        /// Where `user:password` comes from. Default: none are sent.
        credentials: Option<KeySource>,
    },
    /// The proxy that a variable of the process names; none if it is not set.
    Env {
        /// The variable's name, such as `HTTPS_PROXY`.
        env: String,
        /// Where `user:password` comes from. Default: none are sent.
        credentials: Option<KeySource>,
    },
}

/// How the timeout is written.
#[derive(JsonSchema)]
#[schemars(extend("examples" = ["30m", "never"]))]
pub(crate) struct IdleTimeout(String);

/// Resource attributes are single values.
pub(crate) fn attributes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

/// A size as people write it: `64MiB`, `500kB`, or a number of bytes.
#[derive(JsonSchema)]
#[schemars(extend("examples" = ["64MiB", "500kB"]))]
pub(crate) struct Size(String);
