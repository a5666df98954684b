//! Reads the table `[gateway]` of each layer, with the rules and messages of all other tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::problem::{ConfigError, Layer, Problems};
use crate::config::read::layers;
use crate::config::read::table::Table;
use crate::config::resolve::config::Config;
use crate::config::rules::{header, values};
use crate::config::settings::binding::Binding;
use crate::config::settings::key_source;
use crate::config::settings::quota::Quota;
use crate::config::settings::setting::{Fields as _, Setting, path};
use crate::secret::{self, ApiKey, KeyReader, KeySource, SecretError, SecretSources};
use crate::selector::{Selector, Slug};

/// Problems of the table `[gateway]`, each with its file and key path.
#[derive(Debug)]
pub struct GatewayProblems {
    found: Problems,
    /// File or folder of the configuration.
    source: String,
}

/// A table whose fields are taken one at a time. A field that was not taken at the end is a
/// problem. Messages do not repeat values, which may be misplaced keys.
pub struct GatewayTable<'t, 'a>(&'t mut Table<'a>);

impl Config {
    /// Returns whether any layer has a table `[gateway]`.
    pub fn has_gateway(&self) -> bool {
        !self.document.gateway.0.is_empty()
    }

    /// Calls `read` with the table `[gateway]` of each layer, lowest first. So a field that `read`
    /// finds replaces the one of an earlier call.
    pub fn read_gateway(&self, problems: &mut GatewayProblems, mut read: impl FnMut(&mut GatewayTable<'_, '_>)) {
        for layer in &self.document.gateway.0 {
            problems.found.enter(layer.layer, layer.file.as_str());
            // Cannot fail: written by serde_json, with bounded depth.
            let value: Value = serde_json::from_str(&layer.json).unwrap_or_default();
            read_table(value, GATEWAY.to_owned(), &layer.folder, &mut problems.found, &mut read);
        }
    }

    /// Returns the name of each setting of the whole registry that has a default, and its effective
    /// value in TOML. No binding and no key source is among them.
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let mut effective = self.export.effective();
        effective.extend(self.keys.effective());
        effective.extend(self.metrics.effective());
        effective.extend(self.pool.effective());
        effective.extend(self.reload.effective());
        effective.extend(self.spool.effective());
        effective
    }

    /// Returns how many tables with bindings of each kind there are.
    pub fn table_counts(&self) -> [(&'static str, usize); 4] {
        let document = &self.document;
        [
            ("environments", document.environments.len()),
            ("features", document.features.len()),
            ("routes", document.routes.len()),
            ("tenants", document.tenants.len()),
        ]
    }

    /// Checks a binding of a tenant that has no table, as a look-up would. Reads no key.
    ///
    /// # Errors
    /// Returns the message of the look-up.
    pub fn check_binding(&self, tenant: &Slug, binding: Binding) -> Result<(), String> {
        let binding = self.tenant_from_program(tenant, binding);
        let binding = binding.map_err(|error| error.to_string())?;
        let selector = Selector::try_from(Selector::tenant(tenant)).map_err(|error| error.to_string())?;
        let resolved = self.resolve_with(&selector, Some(&binding));
        resolved.map(drop).map_err(|error| error.to_string())
    }

    /// Reads a key, with `keys.strict_permissions` of this configuration.
    ///
    /// # Errors
    /// Returns a [`SecretError`] with the source's name and the reason.
    pub fn read_key(&self, source: &KeySource, sources: &SecretSources) -> Result<ApiKey, SecretError> {
        KeyReader::new(sources.clone(), self.has_strict_permissions()).read_unsent(source)
    }
}

/// Reads a key without a configuration: from a file with any permissions, or from another source of
/// this process.
///
/// # Errors
/// Returns a [`SecretError`] with the source's name and the reason.
pub fn read_key(source: &KeySource) -> Result<ApiKey, SecretError> {
    KeyReader::new(SecretSources::default(), false).read_unsent(source)
}

/// Returns the file that a key is read from, if the source is a file.
pub fn key_file(source: &KeySource) -> Option<PathBuf> {
    source.path()
}

/// Returns whether the configuration may set a header to a value: it is neither a header of the
/// request itself nor one that carries a key.
pub fn is_permitted_header(name: &str, value: &str) -> bool {
    HeaderName::try_from(name).is_ok_and(|name| header::problem(&name, value, None).is_none())
}

/// Returns the reason why a text is not an absolute `http` or `https` URL without user, query and
/// fragment, or `None`. Does not include the text.
pub fn url_problem(text: &str) -> Option<String> {
    values::url(text)
}

/// Returns whether a text matches a pattern, in which `*` matches any ASCII letters, digits, `-`,
/// `_` and `.`. Takes time linear in both.
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    secret::wildcard_matches(pattern, text)
}

/// Name of the table.
const GATEWAY: &str = "gateway";

fn read_table(
    value: Value,
    path: String,
    folder: &Path,
    problems: &mut Problems,
    read: impl FnOnce(&mut GatewayTable<'_, '_>),
) {
    if let Some(mut table) = Table::new(value, path, folder, problems) {
        read(&mut GatewayTable(&mut table));
        table.finish();
    }
}

impl GatewayProblems {
    /// Starts without a problem.
    pub fn new(config: &Config) -> Self {
        Self {
            found: Problems::default(),
            source: config.source(),
        }
    }

    /// Adds a problem of the configuration as a whole.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.found.enter(Layer::Whole, self.source.as_str());
        self.found.add(key, message);
    }

    /// Reads a file of the operator that contains one table. `key` is the path of that table.
    pub fn read_file(
        &mut self,
        file: &Path,
        key: String,
        max_bytes: u64,
        read: impl FnOnce(&mut GatewayTable<'_, '_>),
    ) {
        self.found.enter(Layer::Whole, file.display().to_string());
        match layers::parsed(file, max_bytes) {
            Ok(value) => read_table(
                value,
                key,
                file.parent().unwrap_or(Path::new("")),
                &mut self.found,
                read,
            ),
            Err(message) => self.found.add_unread(message),
        }
    }

    /// Returns all problems as an error, if there are any.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem.
    pub fn into_result(self) -> Result<(), ConfigError> {
        self.found.into_result()
    }
}

impl GatewayTable<'_, '_> {
    /// Returns whether the table is that of the environment variables, whose names have `_` for
    /// `-` and `.`.
    pub fn is_of_variables(&self) -> bool {
        self.0.problems.layer() == Layer::Variables
    }

    /// Returns whether a field is a table.
    pub fn is_table(&self, field: &str) -> bool {
        self.0.fields.get(field).is_some_and(Value::is_object)
    }

    /// Returns whether a field exists and was not taken yet. The field is then known, also if it is
    /// never taken.
    pub fn has(&mut self, field: &'static str) -> bool {
        self.0.known.push(field);
        self.0.fields.contains_key(field)
    }

    /// Adds a problem of a field.
    pub fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.0.problem(field, message);
    }

    /// Adds a problem of the whole table.
    pub fn table_problem(&mut self, message: impl Into<String>) {
        self.0.problems.add(self.0.path.clone(), message);
    }

    /// Takes a field and deserializes it.
    pub fn take<T: DeserializeOwned>(&mut self, field: &'static str, expected: &str) -> Option<T> {
        self.0.take(field, expected)
    }

    /// Takes a string and parses it.
    pub fn parse<T>(&mut self, field: &'static str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.take_text(field, expected, parse)
    }

    /// Takes one of the serde names of an enum's variants.
    pub fn choose<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        self.0.choose(field)
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, field: &'static str) -> Option<bool> {
        Setting::take(self.0, field)
    }

    /// Takes a non-negative integer.
    pub fn count(&mut self, field: &'static str) -> Option<usize> {
        Setting::take(self.0, field)
    }

    /// Takes a duration such as `"5s"`.
    pub fn duration(&mut self, field: &'static str) -> Option<Duration> {
        Setting::take(self.0, field)
    }

    /// Takes a size in bytes: text such as `"64MiB"`, or an integer.
    pub fn size(&mut self, field: &'static str) -> Option<usize> {
        self.0.take_size(field)
    }

    /// Takes a table with a quota, and lays it over the one of lower layers.
    pub fn quota(&mut self, field: &'static str, quota: &mut Quota) {
        if let Some(read) = <Quota as Setting>::take(self.0, field) {
            read.check(&format!("{}.{field}", self.0.path), self.0.problems);
            quota.overlay_fields(&read);
        }
    }

    /// Takes a path. A relative path starts at the folder of the file.
    pub fn path(&mut self, field: &'static str) -> Option<PathBuf> {
        path(self.0, field, "a path")
    }

    /// Takes a key source, or a list of them.
    pub fn key_sources(&mut self, field: &'static str) -> Option<Vec<KeySource>> {
        key_source::take_several(self.0, field)
    }

    /// Takes a nested table, if it exists.
    pub fn table<T>(&mut self, field: &'static str, read: impl FnOnce(&mut GatewayTable<'_, '_>) -> T) -> Option<T> {
        self.0.table(field, |table| read(&mut GatewayTable(table)))
    }

    /// Takes a table of tables by name.
    pub fn tables(&mut self, field: &'static str, mut read: impl FnMut(&str, &mut GatewayTable<'_, '_>)) {
        for (name, value, path) in self.0.entries(field) {
            read_table(value, path, self.0.folder, self.0.problems, |table| read(&name, table));
        }
    }
}
