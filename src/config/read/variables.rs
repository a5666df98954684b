//! Environment variables: those overlaid on the files, and the one that names the active
//! environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use serde_json::{Map, Value};

use crate::config::problem::Problems;
use crate::config::read::declared::DeclaredNames;

/// Prefix of variables that are overlaid on the files.
const PREFIX: &str = "TRACER_REGISTRY__";
/// Separator of the keys in a path.
const SEPARATOR: &str = "__";

/// Snapshot of the variables, so that a whole configuration is read from the same values.
#[derive(Debug)]
pub(crate) struct Variables(BTreeMap<OsString, OsString>);

impl Variables {
    pub(crate) fn from_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns an empty set of variables.
    pub(crate) fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Returns a variable's value. Empty variables count as unset.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// Converts `TRACER_REGISTRY__TENANTS__ACME__SOURCE=eu` to `{ tenants: { acme: { source: "eu" }
    /// } }`.
    ///
    /// Names are converted to lower case. The name of an environment, feature or tenant is replaced
    /// by the declared name that it matches; it is a problem if none or several match. Two
    /// variables for the same setting are a problem, because their order is undefined. Empty
    /// variables are ignored. Every value is a string.
    ///
    /// Without `declared`, names are only converted to lower case.
    pub(crate) fn tree(&self, declared: Option<&DeclaredNames<'_>>, problems: &mut Problems) -> Value {
        let mut root = Map::new();
        for (name, value) in &self.0 {
            let lossy = name.to_string_lossy();
            let Some(path) = lossy.strip_prefix(PREFIX) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let mut keys: Vec<String> = path.split(SEPARATOR).map(str::to_lowercase).collect();
            let shown = keys.join(".");
            if name.to_str().is_none() || keys.iter().any(String::is_empty) {
                problems.add(
                    shown.escape_default().to_string(),
                    "invalid name; expected keys separated by `__`",
                );
                continue;
            }
            if let (Some(declared), [table, name, _, ..]) = (declared, keys.as_mut_slice()) {
                match declared.resolve(table, name) {
                    Ok(Some(declared)) => declared.clone_into(name),
                    Ok(None) => {}
                    Err(message) => {
                        problems.add(shown.escape_default().to_string(), message);
                        continue;
                    }
                }
            }
            match value.to_str() {
                Some(text) if insert(&mut root, &keys, text) => {}
                Some(_) => problems.add(
                    shown.escape_default().to_string(),
                    "conflicts with another variable for the same setting",
                ),
                // The value is not shown, because it may be a key.
                None => problems.add(shown.escape_default().to_string(), "the value is not valid UTF-8"),
            }
        }
        Value::Object(root)
    }
}

impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Inserts a string at a path, unless the path or a prefix of it already has a value.
fn insert(table: &mut Map<String, Value>, keys: &[String], text: &str) -> bool {
    match keys {
        [] => false,
        [last] if table.contains_key(last) => false,
        [last] => {
            table.insert(last.clone(), text.into());
            true
        }
        [first, rest @ ..] => {
            let nested = table.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            nested.as_object_mut().is_some_and(|nested| insert(nested, rest, text))
        }
    }
}
