//! Generated keys and canaries.

use std::collections::BTreeMap;
use std::sync::Mutex;

use uuid::Uuid;

use crate::lock::lock;
use tracer_registry_collector::LocalCollector;

/// Key and canaries of each project, and the collector that maps the keys to projects.
pub(super) struct TestKeys {
    pub(super) collector: LocalCollector,
    owned: Mutex<Generated>,
}

#[derive(Default)]
struct Generated {
    /// Project to key.
    keys: BTreeMap<String, String>,
    /// Canary to project.
    canaries: BTreeMap<String, String>,
}

impl TestKeys {
    pub(super) fn new(collector: LocalCollector) -> Self {
        Self {
            collector,
            owned: Mutex::default(),
        }
    }

    /// Returns the key of a project. Generates it on the first call and registers it in the
    /// collector.
    pub(super) fn key(&self, project: &str) -> String {
        let mut owned = lock(&self.owned);
        if let Some(key) = owned.keys.get(project) {
            return key.clone();
        }
        let key = format!("test-key-{}", Uuid::new_v4().simple());
        self.collector.name_project(project, &key);
        owned.keys.insert(project.to_owned(), key.clone());
        key
    }

    pub(super) fn canary(&self, project: &str) -> String {
        let canary = format!("canary-{}", Uuid::new_v4().simple());
        lock(&self.owned).canaries.insert(canary.clone(), project.to_owned());
        canary
    }

    /// Returns each text to search for, with the project that may contain it; `None` for keys.
    pub(super) fn needles(&self) -> Vec<(String, Option<String>)> {
        let owned = lock(&self.owned);
        let keys = owned.keys.values().map(|key| (key.clone(), None));
        let canaries = owned
            .canaries
            .iter()
            .map(|(canary, project)| (canary.clone(), Some(project.clone())));
        keys.chain(canaries).collect()
    }
}
