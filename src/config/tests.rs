//! Tests of the configuration, with real files in a folder per test.

#[cfg(feature = "yaml")]
mod bounds;
mod copies;
#[cfg(feature = "schema")]
mod defaults;
#[cfg(feature = "schema")]
mod differences;
mod discarded_keys;
#[cfg(all(feature = "gateway", feature = "schema"))]
mod effective;
mod endpoints;
mod files;
#[cfg(feature = "yaml")]
mod formats;
mod gateway;
mod layering;
mod merging;
#[cfg(feature = "yaml")]
mod problems;
mod projects;
#[cfg(all(feature = "schema", feature = "yaml"))]
mod properties;
#[cfg(feature = "redact")]
mod redaction;
#[cfg(feature = "schema")]
mod reference;
mod routing;
mod scaling;
#[cfg(feature = "schema")]
mod schema;
mod secrets;
mod spool;
mod untrusted;
mod variables;
mod wildcard_routes;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::problem::Problems;
use super::{Config, ConfigError, ResolveError, ResolvedBinding};
#[cfg(feature = "yaml")]
use crate::config::read::parse::Syntax;
use crate::config::read::variables::Variables;
use crate::config::settings::setting::read_whole;
use crate::selector::Selector;

/// A folder with configuration files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        for (name, text) in files {
            let file = folder.path(name);
            fs::create_dir_all(file.parent().expect("in the folder")).expect("made");
            fs::write(file, text).expect("written");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load_layers(self.0.path(), false, &vars(variables))
    }

    fn load_alone(&self, name: &str) -> Result<Config, ConfigError> {
        Config::load_layers(&self.path(name), false, &vars(&[]))
    }
}

fn vars(variables: &[(&str, &str)]) -> Variables {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Loads one TOML file, without variables.
fn toml(text: &str) -> Result<Config, ConfigError> {
    Folder::new(&[("default.toml", text)]).load(&[])
}

/// Parses a text with the limits of an operator's file.
#[cfg(feature = "yaml")]
fn parse(text: &str, syntax: Syntax) -> Result<serde_json::Value, String> {
    crate::config::read::parse::parse(text, syntax, 16 << 20)
}

/// Builds a configuration without files or variables.
fn of_json(document: serde_json::Value) -> Config {
    let mut problems = Problems::default();
    let document = read_whole(document, String::new(), Path::new("/"), &mut problems);
    problems.into_result().expect("valid");
    Config::from_document(document).expect("valid")
}

/// Returns the problems of one TOML file as `key: message`.
fn problems(text: &str) -> Vec<String> {
    listed(&toml(text).expect_err("problems"))
}

fn listed(error: &ConfigError) -> Vec<String> {
    let shown = error
        .problems()
        .iter()
        .map(|problem| format!("{}: {}", problem.key(), problem.message()));
    shown.collect()
}

fn try_resolve(config: &Config, selector: &str) -> Result<ResolvedBinding, ResolveError> {
    config.resolve(&selector.parse::<Selector>().expect("a selector"))
}

fn resolve(config: &Config, selector: &str) -> ResolvedBinding {
    try_resolve(config, selector).expect("resolves")
}
