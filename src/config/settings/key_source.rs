//! Parses key sources.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

#[cfg(feature = "gateway")]
use crate::config::problem::Layer;
use crate::config::problem::Problems;
use crate::config::read::table::{TEXT, Table};
use crate::config::settings::setting::Setting;
use crate::secret::{KeyCommand, KeySource};

const KEY_SOURCES: &str = "use { env = \"VARIABLE\" }, { file = \"/path\" }, { credential = \"name\" }, \
                           { exec = [\"command\", \"argument\"] } or { provider = \"name\", name = \"secret\" }";

/// Takes a key source from a table. Messages do not include its values, which may be misplaced
/// keys.
pub(crate) fn take(table: &mut Table<'_>, name: &'static str) -> Option<KeySource> {
    let value = table.value(name)?;
    read(value, table.path_of(name), table.folder, table.problems)
}

/// Takes a key source, or a list of them. An invalid one is omitted.
#[cfg(feature = "gateway")]
pub(crate) fn take_several(table: &mut Table<'_>, name: &'static str) -> Option<Vec<KeySource>> {
    let (path, folder) = (table.path_of(name), table.folder);
    let mut value = table.value(name)?;
    // A list in a variable is JSON.
    let text = value.as_str().filter(|_| table.problems.layer() == Layer::Variables);
    if let Some(list @ Value::Array(_)) = text.and_then(|text| serde_json::from_str(text).ok()) {
        value = list;
    }
    let Value::Array(items) = value else {
        return Some(read(value, path, folder, table.problems).into_iter().collect());
    };
    if items.is_empty() {
        table.problem(name, format!("an empty list; {KEY_SOURCES}"));
    }
    let items = items.into_iter().enumerate();
    let sources = items.filter_map(|(index, item)| read(item, format!("{path}[{index}]"), folder, table.problems));
    Some(sources.collect())
}

fn read(value: Value, path: String, folder: &Path, problems: &mut Problems) -> Option<KeySource> {
    if !value.is_object() {
        let message = format!("a key is never written in the configuration; {KEY_SOURCES}");
        problems.add(path, message);
        return None;
    }
    let mut table = Table::new(value, path, folder, problems)?;
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
            let message = format!("expected exactly one key source, found {}; {KEY_SOURCES}", given.len());
            table.problems.add(table.path, message);
            return None;
        }
    };
    table.finish();
    source
}

fn command(table: &mut Table<'_>) -> Option<KeyCommand> {
    let timeout = Duration::take(table, "timeout");
    let lifetime = Duration::take(table, "lifetime");
    let passed: Option<Vec<String>> = table.take("pass_env", "a list of variable names");
    let show_stderr = table.take("show_stderr", "true or false");
    let words: Vec<String> = table.take("exec", "a list of strings with a program and its arguments")?;
    let mut command = KeyCommand::new(words).pass_env(passed.unwrap_or_default());
    command.timeout = timeout.unwrap_or(command.timeout);
    command.lifetime = lifetime;
    command.show_stderr = show_stderr.unwrap_or_default();
    Some(command)
}
