//! Shared by the examples: a local collector instead of a hosted service, and a folder with the
//! keys of its projects.
#![allow(dead_code, reason = "no example uses all functions")]

use std::error::Error;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tracer_registry::KeySource;
use tracer_registry::config::Binding;
use tracer_registry_collector::{LocalCollector, Project};

pub(crate) struct Backend {
    collector: LocalCollector,
    folder: TempDir,
}

impl Backend {
    /// Starts a collector with a project per name. The key of a project is the file `keys/<name>`
    /// in a folder.
    pub(crate) fn start(names: &[&str]) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let keys = folder.path().join("keys");
        fs::create_dir(&keys)?;
        let mut collector = LocalCollector::builder();
        for name in names {
            let key = format!("key-of-{name}");
            fs::write(keys.join(name), &key)?;
            collector = collector.project(*name, key);
        }
        Ok(Self {
            collector: collector.start()?,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        self.collector.url()
    }

    /// Returns the binding shared by all tracers: the collector's endpoint.
    pub(crate) fn endpoint(&self) -> Binding {
        Binding::new().endpoint(self.url())
    }

    /// Returns a binding with the key of a project, read from its file.
    pub(crate) fn key(&self, name: &str) -> Binding {
        Binding::new().api_key(KeySource::file(self.folder().join("keys").join(name)))
    }

    pub(crate) fn project(&self, name: &str) -> Project {
        self.collector.project(name).expect("a project of the collector")
    }

    /// Prints the traces that a project received.
    #[expect(clippy::print_stdout, reason = "an example shows what it did")]
    pub(crate) fn show(&self, name: &str) -> Project {
        let project = self.project(name);
        println!("project {name}\n{}", project.tree());
        project
    }
}
