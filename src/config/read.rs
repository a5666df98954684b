//! From a parsed file to a [`Document`], collecting every fault on the way.
//!
//! One pass over the tree, field by field: serde alone would stop at the first fault. A value that may be a key by mistake
//! is never repeated in a message.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::binding::Binding;
use super::document::{ActiveEnvironment, ActiveVariable, Document, Route, When};
use super::export::{Export, HumanDuration, Retry};
use super::fault::Faults;
use crate::secret::KeySource;

/// How long a command that prints a key may take, unless its `timeout` says otherwise.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

const KEY_SOURCES: &str = "a key comes from { env = \"VARIABLE\" }, { file = \"/path\" }, { credential = \"name\" }, \
                           { exec = [\"command\", \"argument\"] } or { provider = \"name\", name = \"secret\" }";

/// A table whose fields are taken one by one; what is left at the end is unknown.
struct Table<'a> {
    fields: Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    faults: &'a mut Faults,
}

/// Reads a layer. `folder` is where its relative paths start.
pub(super) fn document(value: Value, folder: &Path, faults: &mut Faults) -> Document {
    let Some(mut table) = Table::new(value, String::new(), faults) else {
        return Document::default();
    };
    let document = Document {
        active_environment: table
            .value("active_environment")
            .and_then(|value| active(value, table.faults)),
        defaults: table.nested("defaults", |value, path, faults| binding(value, path, folder, faults)),
        environments: table.bindings("environments", folder),
        features: table.bindings("features", folder),
        tenants: table.bindings("tenants", folder),
        routes: table.routes("routes", folder),
        export: table.nested("export", export),
    };
    table.finish();
    document
}

fn binding(value: Value, path: String, folder: &Path, faults: &mut Faults) -> Binding {
    let Some(mut table) = Table::new(value, path, faults) else {
        return Binding::default();
    };
    let binding = table.binding(folder);
    table.finish();
    binding
}

fn route(value: Value, path: String, folder: &Path, faults: &mut Faults) -> Option<Route> {
    let mut table = Table::new(value, path, faults)?;
    if !table.fields.contains_key("when") {
        table.fault(
            "when",
            "missing; a route says which parts it is for, as in when = { tenant = \"acme\", feature = \"search\" }",
        );
    }
    let route = Route {
        when: table.nested("when", when),
        binding: table.binding(folder),
    };
    table.finish();
    Some(route)
}

fn when(value: Value, path: String, faults: &mut Faults) -> When {
    let Some(mut table) = Table::new(value, path, faults) else {
        return When::default();
    };
    let when = When {
        tenant: table.take("tenant"),
        environment: table.take("environment"),
        feature: table.take("feature"),
    };
    table.finish();
    when
}

fn active(value: Value, faults: &mut Faults) -> Option<ActiveEnvironment> {
    if let Value::String(name) = value {
        return Some(ActiveEnvironment::Name(name));
    }
    let mut table = Table::new(value, "active_environment".into(), faults)?;
    let env = table.required("env");
    let default = table.take("default");
    table.finish();
    Some(ActiveEnvironment::Variable(ActiveVariable { env: env?, default }))
}

fn export(value: Value, path: String, faults: &mut Faults) -> Export {
    let Some(mut table) = Table::new(value, path, faults) else {
        return Export::default();
    };
    let export = Export {
        protocol: table.take("protocol"),
        compression: table.take("compression"),
        scheduled_delay: table.take("scheduled_delay"),
        max_export_batch_size: table.take("max_export_batch_size"),
        max_queue_size: table.take("max_queue_size"),
        max_concurrent_exports: table.take("max_concurrent_exports"),
        timeout: table.take("timeout"),
        drop_timeout: table.take("drop_timeout"),
        retry: table.nested("retry", retry),
    };
    table.finish();
    export
}

fn retry(value: Value, path: String, faults: &mut Faults) -> Retry {
    let Some(mut table) = Table::new(value, path, faults) else {
        return Retry::default();
    };
    let retry = Retry {
        initial_backoff: table.take("initial_backoff"),
        max_backoff: table.take("max_backoff"),
        max_elapsed: table.take("max_elapsed"),
    };
    table.finish();
    retry
}

fn key_source(value: Value, path: String, folder: &Path, faults: &mut Faults) -> Option<KeySource> {
    if !value.is_object() {
        // Whatever stands here may be a key: it is not repeated.
        faults.add(
            path,
            format!("a key is never written in the configuration; {KEY_SOURCES}"),
        );
        return None;
    }
    let mut table = Table::new(value, path, faults)?;
    let given: Vec<&str> = ["env", "file", "credential", "exec", "provider"]
        .into_iter()
        .filter(|kind| table.fields.contains_key(*kind))
        .collect();
    let source = match given.as_slice() {
        ["env"] => table.take("env").map(KeySource::Env),
        ["file"] => table
            .take::<PathBuf>("file")
            .map(|path| KeySource::File(folder.join(path))),
        ["credential"] => table.take("credential").map(KeySource::Credential),
        ["exec"] => {
            let timeout = table
                .take("timeout")
                .map_or(EXEC_TIMEOUT, |HumanDuration(timeout)| timeout);
            table
                .command("exec")
                .map(|command| KeySource::Exec { command, timeout })
        }
        ["provider"] => {
            let (provider, name) = (table.take("provider"), table.required("name"));
            provider
                .zip(name)
                .map(|(provider, name)| KeySource::Provider { provider, name })
        }
        _ => {
            let message = format!("exactly one source is needed, found {}; {KEY_SOURCES}", given.len());
            table.faults.add(table.path.clone(), message);
            return None;
        }
    };
    table.finish();
    source
}

impl<'a> Table<'a> {
    fn new(value: Value, path: String, faults: &'a mut Faults) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self {
                fields,
                path,
                known: Vec::new(),
                faults,
            }),
            other => {
                faults.add(path, format!("a table is expected, found {}", kind(&other)));
                None
            }
        }
    }

    /// The fields of a binding; the caller finishes the table, which may have others.
    fn binding(&mut self, folder: &Path) -> Binding {
        let path = self.path_of("api_key");
        Binding {
            api_key: self
                .value("api_key")
                .and_then(|value| key_source(value, path, folder, self.faults)),
            backend: self.take("backend"),
            endpoint: self.endpoint("endpoint"),
            auth: self.take("auth"),
            headers: self.headers("headers"),
            source: self.take("source"),
            metadata: self.take("metadata").unwrap_or_default(),
            resource: self.take("resource").unwrap_or_default(),
            sampling: self.take("sampling"),
            limits: self.take("limits"),
            propagation: self.take("propagation"),
        }
    }

    fn value(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field)
    }

    /// A field as serde reads it.
    fn take<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        let value = self.value(field)?;
        serde_json::from_value(value)
            .map_err(|error| self.fault(field, error.to_string()))
            .ok()
    }

    fn required(&mut self, field: &'static str) -> Option<String> {
        if !self.fields.contains_key(field) {
            self.fault(field, "missing");
        }
        self.take(field)
    }

    /// A URL: a text of any other kind is a fault that does not repeat it, for a URL may have a password in it.
    fn endpoint(&mut self, field: &'static str) -> Option<String> {
        match self.value(field)? {
            Value::String(text) => Some(text),
            other => {
                self.fault(field, format!("a URL is expected, found {}", kind(&other)));
                None
            }
        }
    }

    /// Headers one by one, so that each fault has its key path and no value is repeated.
    fn headers(&mut self, field: &'static str) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for (name, value, path) in self.entries(field) {
            match value {
                Value::String(text) => {
                    headers.insert(name, text);
                }
                other => self
                    .faults
                    .add(path, format!("a text is expected, found {}", kind(&other))),
            }
        }
        headers
    }

    /// A command: its words are not repeated, for a token may be among them.
    fn command(&mut self, field: &'static str) -> Option<Vec<String>> {
        let words = self
            .value(field)
            .and_then(|value| serde_json::from_value::<Vec<String>>(value).ok());
        let command = words.filter(|words| words.first().is_some_and(|program| !program.is_empty()));
        if command.is_none() {
            self.fault(field, "a list of texts is expected, the program and its arguments");
        }
        command
    }

    fn bindings(&mut self, field: &'static str, folder: &Path) -> BTreeMap<String, Binding> {
        let entries = self.entries(field);
        let read = |(name, value, path)| (name, binding(value, path, folder, self.faults));
        entries.into_iter().map(read).collect()
    }

    fn routes(&mut self, field: &'static str, folder: &Path) -> Vec<Route> {
        match self.value(field) {
            None => Vec::new(),
            Some(Value::Array(routes)) => {
                let read = |(index, value)| route(value, format!("{field}[{index}]"), folder, self.faults);
                routes.into_iter().enumerate().filter_map(read).collect()
            }
            Some(other) => {
                self.fault(field, format!("a list of tables is expected, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    /// The entries of a table whose keys are free, each with its path.
    fn entries(&mut self, field: &'static str) -> Vec<(String, Value, String)> {
        let path = self.path_of(field);
        match self.value(field) {
            None => Vec::new(),
            Some(Value::Object(entries)) => {
                let with_path = |(name, value): (String, Value)| {
                    let path = format!("{path}.{}", quoted(&name));
                    (name, value, path)
                };
                entries.into_iter().map(with_path).collect()
            }
            Some(other) => {
                self.fault(field, format!("a table is expected, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    fn nested<T: Default>(&mut self, field: &'static str, read: impl FnOnce(Value, String, &mut Faults) -> T) -> T {
        let path = self.path_of(field);
        match self.value(field) {
            Some(value) => read(value, path, self.faults),
            None => T::default(),
        }
    }

    fn finish(self) {
        for field in self.fields.keys() {
            let similar = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, field), known));
            let nearest = similar
                .max_by(|one, other| one.0.total_cmp(&other.0))
                .filter(|(score, _)| *score > 0.8);
            let hint = nearest
                .map(|(_, known)| format!("; did you mean `{known}`?"))
                .unwrap_or_default();
            let path = if self.path.is_empty() {
                quoted(field)
            } else {
                format!("{}.{}", self.path, quoted(field))
            };
            self.faults.add(path, format!("unknown field{hint}"));
        }
    }

    fn fault(&mut self, field: &str, message: impl Into<String>) {
        let path = self.path_of(field);
        self.faults.add(path, message);
    }

    fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }
}

/// A key of a path, quoted where TOML would want it so.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_default())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
