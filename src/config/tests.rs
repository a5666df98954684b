//! What the parts of the configuration promise, each over real files in a folder of the test's own.

mod any_tenant;
#[cfg(feature = "yaml")]
mod bounds;
#[cfg(feature = "schema")]
mod differences;
#[cfg(feature = "yaml")]
mod faults;
mod files;
mod forgetting;
#[cfg(feature = "yaml")]
mod formats;
mod layering;
#[cfg(feature = "schema")]
mod left_out;
mod many;
mod merging;
mod projects;
#[cfg(all(feature = "schema", feature = "yaml"))]
mod properties;
#[cfg(feature = "schema")]
mod reference;
mod routing;
#[cfg(feature = "schema")]
mod schema;
mod secrets;
mod untrusted;
mod urls;
mod variables;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fault::Faults;
use super::{Config, ConfigError, ResolveError, ResolvedBinding};
#[cfg(feature = "yaml")]
use crate::config::read::parse::Written;
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
        Config::load_with(self.0.path(), &vars(variables))
    }

    fn load_alone(&self, name: &str) -> Result<Config, ConfigError> {
        Config::load_with(&self.path(name), &vars(&[]))
    }
}

fn vars(variables: &[(&str, &str)]) -> Variables {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// One TOML file, without variables.
fn toml(text: &str) -> Result<Config, ConfigError> {
    Folder::new(&[("default.toml", text)]).load(&[])
}

/// A text as a file of the operator.
#[cfg(feature = "yaml")]
fn parse(text: &str, written: Written) -> Result<serde_json::Value, String> {
    crate::config::read::parse::parse(text, written, 16 << 20)
}

/// A configuration without files and variables.
fn of_json(document: serde_json::Value) -> Config {
    let mut faults = Faults::default();
    let document = read_whole(document, String::new(), Path::new("/"), &mut faults);
    faults.into_result().expect("valid");
    Config::from_document(document).expect("valid")
}

/// The faults of one TOML file as `key: message`.
fn faults(text: &str) -> Vec<String> {
    listed(&toml(text).expect_err("has faults"))
}

fn listed(error: &ConfigError) -> Vec<String> {
    let shown = error
        .faults()
        .iter()
        .map(|fault| format!("{}: {}", fault.key(), fault.message()));
    shown.collect()
}

fn try_resolve(config: &Config, selector: &str) -> Result<ResolvedBinding, ResolveError> {
    config.resolve(&selector.parse::<Selector>().expect("a selector"))
}

fn resolve(config: &Config, selector: &str) -> ResolvedBinding {
    try_resolve(config, selector).expect("resolves")
}
