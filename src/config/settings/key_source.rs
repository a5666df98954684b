//! Where a key comes from, as written.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;

use crate::config::read::table::{TEXT, Table};
use crate::config::settings::setting::Setting;
use crate::secret::{KeyCommand, KeySource};

const KEY_SOURCES: &str = "a key comes from { env = \"VARIABLE\" }, { file = \"/path\" }, { credential = \"name\" }, \
                           { exec = [\"command\", \"argument\"] } or { provider = \"name\", name = \"secret\" }";

/// Takes it out of a table. What is written there is not repeated: it may be the key itself.
pub(crate) fn take(table: &mut Table<'_>, name: &'static str) -> Option<KeySource> {
    let value = table.value(name)?;
    if !value.is_object() {
        let message = format!("a key is never written in the configuration; {KEY_SOURCES}");
        table.fault(name, message);
        return None;
    }
    let (path, folder) = (table.path_of(name), table.folder);
    let mut table = Table::new(value, path, folder, table.faults)?;
    let given: Vec<&str> = ["env", "file", "credential", "exec", "provider"]
        .into_iter()
        .filter(|kind| table.fields.contains_key(*kind))
        .collect();
    let source = match given.as_slice() {
        ["env"] => table.take("env", TEXT).map(KeySource::Env),
        ["file"] => table
            .take::<PathBuf>("file", "a path")
            .map(|path| KeySource::File(folder.join(path))),
        ["credential"] => table.take("credential", TEXT).map(KeySource::Credential),
        ["exec"] => command(&mut table).map(KeySource::Exec),
        ["provider"] => {
            let (provider, name) = (table.take("provider", TEXT), table.required("name"));
            provider
                .zip(name)
                .map(|(provider, name)| KeySource::Provider { provider, name })
        }
        _ => {
            let message = format!("exactly one source is needed, found {}; {KEY_SOURCES}", given.len());
            table.faults.add(table.path, message);
            return None;
        }
    };
    table.finish();
    source
}

fn command(table: &mut Table<'_>) -> Option<KeyCommand> {
    let timeout = Duration::take(table, "timeout");
    let lifetime = Duration::take(table, "lifetime");
    let passed: Option<Vec<String>> = table.take("pass_env", "a list of texts, names of variables,");
    let show_stderr = table.take("show_stderr", "true or false");
    let words: Vec<String> = table.take("exec", "a list of texts, the program and its arguments,")?;
    let mut command = KeyCommand::new(words).pass_env(passed.unwrap_or_default());
    command.timeout = timeout.unwrap_or(command.timeout);
    command.lifetime = lifetime;
    command.show_stderr = show_stderr.unwrap_or_default();
    Some(command)
}

/// Where a key comes from, as written. A literal key is refused.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "describes the written form; it is read with an error for each mistake"
)]
pub(crate) enum Form {
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
