//! Settings of a test's registry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::isolation::PROJECT_HEADER;
use super::keys::TestKeys;
use tracer_registry::config::{BackendName, Binding, Export};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;
use tracer_registry::{KeySource, RegistryBuilder, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// Name of the secret source with the generated keys.
const KEYS: &str = "test";
/// Size of the recorded requests that are searched for leaks.
const RECORDED_BYTES: usize = 32 << 20;

/// Settings of a [`TestRegistry`](crate::TestRegistry).
#[must_use = "`start` creates the registry"]
pub struct TestRegistryBuilder {
    tenants: Option<BTreeSet<String>>,
    environments: BTreeSet<String>,
    features: BTreeSet<String>,
    active: Option<String>,
    backend: BackendName,
    adapt: Vec<Box<dyn FnOnce(RegistryBuilder) -> RegistryBuilder>>,
}

impl TestRegistryBuilder {
    pub(super) fn new() -> Self {
        Self {
            tenants: None,
            environments: BTreeSet::new(),
            features: BTreeSet::new(),
            active: None,
            backend: BackendName::Honeyhive,
            adapt: Vec::new(),
        }
    }

    /// Adds known tenants. Without this call, every tenant is known.
    pub fn tenants<N: Into<String>>(mut self, slugs: impl IntoIterator<Item = N>) -> Self {
        let known = self.tenants.get_or_insert_default();
        known.extend(slugs.into_iter().map(Into::into));
        self
    }

    /// Adds an environment.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environments.insert(name.into());
        self
    }

    /// Adds an environment and makes it the active one.
    pub fn active_environment(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.active = Some(name.clone());
        self.environment(name)
    }

    /// Adds a feature.
    pub fn feature(mut self, name: impl Into<String>) -> Self {
        self.features.insert(name.into());
        self
    }

    /// Sets the backend of all projects. Default: HoneyHive, which has a session API.
    pub fn backend(mut self, backend: BackendName) -> Self {
        self.backend = backend;
        self
    }

    /// Changes the registry's builder: limits, the pool, further bindings. Runs after all other
    /// settings.
    ///
    /// A binding with a key that is set here has no named project.
    pub fn configure(mut self, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder + 'static) -> Self {
        self.adapt.push(Box::new(adapt));
        self
    }

    /// Starts the collector and builds the registry.
    pub(super) fn into_parts(self) -> (TracerRegistry, Arc<TestKeys>) {
        let fingerprinter = Fingerprinter::new();
        let fingerprints = fingerprinter.clone();
        let collector = LocalCollector::builder()
            .fingerprints(move |key| fingerprints.fingerprint(key).into())
            .record_requests(RECORDED_BYTES)
            .start();
        let collector = collector.unwrap_or_else(|error| panic!("cannot start the test's collector: {error}"));
        let defaults = Binding::new().backend(self.backend).endpoint(collector.url());
        let keys = Arc::new(TestKeys::new(collector));
        let source = Arc::clone(&keys);
        let mut builder = TracerRegistry::builder()
            .fingerprinter(fingerprinter)
            .secret_source(KEYS, move |project: &str| Ok(source.key(project).into()))
            .defaults(defaults)
            .export(Export {
                // Tests flush before they assert; spans that they do not flush arrive soon as well.
                scheduled_delay: Some(Duration::from_millis(50)),
                ..Export::default()
            });
        for name in self.environments {
            let project = format!("environment:{name}");
            builder = builder.environment(name, binding(&project));
        }
        for name in self.features {
            let project = format!("feature:{name}");
            builder = builder.feature(name, binding(&project));
        }
        builder = match self.tenants {
            Some(slugs) => slugs.into_iter().fold(builder, |builder, slug| {
                let binding = binding(&slug);
                builder.tenant(slug, binding)
            }),
            None => builder.binding_source(|tenant: &Slug| Ok::<_, SourceError>(Some(binding(tenant.as_str())))),
        };
        if let Some(active) = self.active {
            builder = builder.active_environment(active);
        }
        builder = self.adapt.into_iter().fold(builder, |builder, adapt| adapt(builder));
        let registry = builder.build();
        let registry = registry.unwrap_or_else(|error| panic!("cannot build the test's registry: {error}"));
        (registry, keys)
    }
}

/// Returns a binding with the key of a project, and the project's name in a header.
fn binding(project: &str) -> Binding {
    Binding::new()
        .api_key(KeySource::provider(KEYS, project))
        .header(PROJECT_HEADER, project)
}
