//! The demo's world: a folder with a configuration and secret files, a local collector that knows the keys, a registry.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;
use tracer_registry::config::Config;
use tracer_registry::{Selector, TracerRegistry};
use tracer_registry_collector::LocalCollector;
use uuid::Uuid;

use super::CliError;

const CONFIGURATION: &str = include_str!("demo.toml");

/// Every project of the demo: what its tracer is asked for by, and the file with its key.
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

pub(super) struct World {
    pub(super) collector: LocalCollector,
    pub(super) registry: TracerRegistry,
    /// The folder with the configuration and the keys; gone with this.
    _folder: TempDir,
}

impl World {
    pub(super) fn new() -> Result<Self, CliError> {
        let demo = |what| move |source| CliError::Demo { what, source };
        let folder = tempfile::tempdir().map_err(demo("folder cannot be made"))?;
        let keys = write_keys(folder.path()).map_err(demo("keys cannot be written"))?;
        let named = LocalCollector::builder().max_spans(usize::MAX).max_sessions(usize::MAX);
        let named = keys
            .iter()
            .fold(named, |builder, (selector, key)| builder.project(selector, key));
        let collector = named.start()?;
        write_configuration(folder.path(), &collector.url()).map_err(demo("configuration cannot be written"))?;
        // The files only: a variable of the caller's must not send the demo's spans elsewhere.
        let config = Config::load_files(folder.path()).map_err(tracer_registry::BuildError::from)?;
        let registry = TracerRegistry::builder().config(config).build()?;
        Ok(Self {
            collector,
            registry,
            _folder: folder,
        })
    }

    /// Every selector that has a project.
    pub(super) fn selectors() -> impl Iterator<Item = Selector> {
        PROJECTS
            .into_iter()
            .map(|(selector, _)| selector.parse().expect("the table has selectors in it"))
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
