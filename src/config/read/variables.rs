//! The variables of the process: those laid over the files, and the one that names the active environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use serde_json::{Map, Value};

use crate::config::fault::Faults;
use crate::config::read::declared::DeclaredNames;

/// The prefix of variables that are laid over the files.
const PREFIX: &str = "TRACER_REGISTRY__";
/// What separates the keys of a path.
const SEPARATOR: &str = "__";

/// Variables as they were when the configuration was read, so that all of it sees the same ones.
#[derive(Debug)]
pub(crate) struct Variables(BTreeMap<OsString, OsString>);

impl Variables {
    pub(crate) fn of_the_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// As if no variable were set.
    pub(crate) fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// A variable's value if it has one; one that is set to nothing has none.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// `TRACER_REGISTRY__TENANTS__ACME__SOURCE=eu` as `{ tenants: { acme: { source: "eu" } } }`.
    ///
    /// Names are folded to lower case, for variables are written in upper case. The name of an environment, a feature or a tenant is the
    /// declared one that it means; none or two of them are a fault. Two variables that then say the same thing are a fault: which of them
    /// holds would be chance. A variable that is set to nothing says nothing. Every value is a text.
    ///
    /// Without `declared`, names are as they are folded.
    pub(crate) fn tree(&self, declared: Option<&DeclaredNames<'_>>, faults: &mut Faults) -> Value {
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
                faults.add(
                    shown.escape_default().to_string(),
                    "not a path of keys with `__` between them",
                );
                continue;
            }
            if let (Some(declared), [table, name, _, ..]) = (declared, keys.as_mut_slice()) {
                match declared.meant(table, name) {
                    Ok(Some(meant)) => meant.clone_into(name),
                    Ok(None) => {}
                    Err(message) => {
                        faults.add(shown.escape_default().to_string(), message);
                        continue;
                    }
                }
            }
            match value.to_str() {
                Some(text) if insert(&mut root, &keys, text) => {}
                Some(_) => faults.add(
                    shown.escape_default().to_string(),
                    "another variable says the same thing, or a part of it",
                ),
                // The value may be a key: it is not repeated.
                None => faults.add(shown.escape_default().to_string(), "the value is not UTF-8 text"),
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

/// Puts a text at the end of a path, unless something is there or on the way.
fn insert(table: &mut Map<String, Value>, keys: &[String], text: &str) -> bool {
    match keys {
        [] => false,
        [last] if table.contains_key(last) => false,
        [last] => {
            table.insert(last.clone(), text.into());
            true
        }
        [first, rest @ ..] => {
            let below = table.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            below.as_object_mut().is_some_and(|below| insert(below, rest, text))
        }
    }
}
