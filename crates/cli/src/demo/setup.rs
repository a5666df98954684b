//! Setup of the demo: a folder with configuration and key files, a local collector, and a registry.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;
use tracer_registry::config::Config;
use tracer_registry::{Selector, TracerRegistry};
use tracer_registry_collector::LocalCollector;
use uuid::Uuid;

use super::CliError;
use super::tally::OWNER;

const CONFIGURATION: &str = include_str!("demo.toml");

/// Selector and key file of each project.
const PROJECTS: [(&str, &str); 9] = [
    ("tenant:acme", "tenant-acme"),
    ("tenant:globex", "tenant-globex"),
    ("tenant:initech", "tenant-initech"),
    ("environment:development", "environment-development"),
    ("environment:staging", "environment-staging"),
    ("environment:production", "environment-production"),
    ("feature:search", "feature-search"),
    ("feature:customer_experience", "feature-customer_experience"),
    ("feature:search,tenant:acme", "feature-search-tenant-acme"),
];

pub(super) struct Setup {
    pub(super) collector: LocalCollector,
    pub(super) registry: TracerRegistry,
    /// Contains the configuration and the keys; deleted on drop.
    _folder: TempDir,
}

impl Setup {
    pub(super) fn new() -> Result<Self, CliError> {
        let demo = |action| move |source| CliError::Demo { action, source };
        let folder = tempfile::tempdir().map_err(demo("create a temporary folder"))?;
        let keys = write_keys(folder.path()).map_err(demo("write its keys"))?;
        let builder = LocalCollector::builder()
            .max_spans(usize::MAX)
            .max_sessions(usize::MAX)
            .owner_attribute(OWNER);
        let builder = keys
            .iter()
            .fold(builder, |builder, (selector, key)| builder.project(selector, key));
        let collector = builder.start()?;
        write_configuration(folder.path(), &collector.url()).map_err(demo("write its configuration"))?;
        // Files only: an environment variable must not send the demo's spans elsewhere.
        let config = Config::load_files(folder.path()).map_err(tracer_registry::BuildError::from)?;
        let registry = TracerRegistry::builder().config(config).build()?;
        Ok(Self {
            collector,
            registry,
            _folder: folder,
        })
    }

    /// Returns the selector of each project.
    pub(super) fn selectors() -> impl Iterator<Item = Selector> {
        PROJECTS
            .into_iter()
            .map(|(selector, _)| selector.parse().expect("the table contains valid selectors"))
    }
}

fn write_keys(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let keys = folder.join("keys");
    fs::create_dir(&keys)?;
    let written = PROJECTS.into_iter().map(|(selector, file)| {
        let key = format!("hh_demo_{}", Uuid::new_v4().simple());
        fs::write(keys.join(file), format!("{key}\n"))?;
        Ok((selector.to_owned(), key))
    });
    written.collect()
}

fn write_configuration(folder: &Path, endpoint: &str) -> io::Result<()> {
    fs::write(folder.join("default.toml"), CONFIGURATION)?;
    fs::write(
        folder.join("local.toml"),
        format!("[defaults]\nendpoint = \"{endpoint}\"\n"),
    )
}
