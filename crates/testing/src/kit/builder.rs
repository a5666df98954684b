//! What a test's registry knows and how it sends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::isolation::WHOSE;
use super::keys::TestKeys;
use super::registry::TestRegistry;
use tracer_registry::config::{BackendName, Binding, Export};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;
use tracer_registry::{KeySource, RegistryBuilder, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// The name of the source of keys.
const KEYS: &str = "test";
/// For the requests that leaks are looked for in.
const RECORDED_BYTES: usize = 32 << 20;

/// Settings of a [`TestRegistry`].
#[must_use = "`start` makes the registry"]
pub struct TestRegistryBuilder {
    tenants: Option<BTreeSet<String>>,
    environments: BTreeSet<String>,
    features: BTreeSet<String>,
    active: Option<String>,
    backend: BackendName,
    adapt: Vec<Box<dyn FnOnce(RegistryBuilder) -> RegistryBuilder>>,
}

impl TestRegistry {
    /// One that knows every tenant, and no environment or feature.
    ///
    /// # Panics
    /// Where loopback has no free port.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// What it starts with, to be changed.
    pub fn builder() -> TestRegistryBuilder {
        TestRegistryBuilder::new()
    }
}

impl TestRegistryBuilder {
    fn new() -> Self {
        Self {
            tenants: None,
            environments: BTreeSet::new(),
            features: BTreeSet::new(),
            active: None,
            backend: BackendName::Honeyhive,
            adapt: Vec::new(),
        }
    }

    /// Only these tenants are known, and those of further calls.
    pub fn tenants<N: Into<String>>(mut self, slugs: impl IntoIterator<Item = N>) -> Self {
        let known = self.tenants.get_or_insert_default();
        known.extend(slugs.into_iter().map(Into::into));
        self
    }

    /// An environment.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environments.insert(name.into());
        self
    }

    /// An environment, in which the process runs.
    pub fn active_environment(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.active = Some(name.clone());
        self.environment(name)
    }

    /// A feature.
    pub fn feature(mut self, name: impl Into<String>) -> Self {
        self.features.insert(name.into());
        self
    }

    /// Backend of all projects. Default: HoneyHive, which has sessions of its own.
    pub fn backend(mut self, backend: BackendName) -> Self {
        self.backend = backend;
        self
    }

    /// Changes whatever a registry's builder can: limits, the pool, further bindings. Runs after all other settings.
    ///
    /// A binding that is given here with a key of its own has no project with a name.
    pub fn configure(mut self, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder + 'static) -> Self {
        self.adapt.push(Box::new(adapt));
        self
    }

    /// Starts the collector on a free port of loopback, and makes the registry.
    ///
    /// # Panics
    /// Where loopback has no free port, a name breaks the rules of names, or [`configure`](Self::configure) made a configuration that is faulty.
    pub fn start(self) -> TestRegistry {
        let fingerprinter = Fingerprinter::new();
        let fingerprints = fingerprinter.clone();
        let collector = LocalCollector::builder()
            .fingerprints(move |key| fingerprints.fingerprint(key).into())
            .record_requests(RECORDED_BYTES)
            .start();
        let collector = collector.unwrap_or_else(|error| panic!("the collector of a test: {error}"));
        let defaults = Binding::new().backend(self.backend).endpoint(collector.url());
        let keys = Arc::new(TestKeys::new(collector));
        let source = Arc::clone(&keys);
        let mut builder = TracerRegistry::builder()
            .fingerprinter(fingerprinter)
            .secret_source(KEYS, move |project: &str| Ok(source.key(project).into()))
            .defaults(defaults)
            .export(Export {
                // A test flushes what it looks at; what it does not look at should not wait for long either.
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
                let of_slug = binding(&slug);
                builder.tenant(slug, of_slug)
            }),
            None => builder.binding_source(|tenant: &Slug| Ok::<_, SourceError>(Some(binding(tenant.as_str())))),
        };
        if let Some(active) = self.active {
            builder = builder.active_environment(active);
        }
        builder = self.adapt.into_iter().fold(builder, |builder, adapt| adapt(builder));
        let registry = builder.build();
        let registry = registry.unwrap_or_else(|error| panic!("the registry of a test: {error}"));
        TestRegistry { registry, keys }
    }
}

/// With the key of a project, and the project's name in a header, by which a request says whose it is.
fn binding(project: &str) -> Binding {
    Binding::new()
        .api_key(KeySource::provider(KEYS, project))
        .header(WHOSE, project)
}
