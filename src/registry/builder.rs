//! A registry made in code.

use super::{BuildError, TracerRegistry};
use crate::config::{ActiveEnvironment, Binding, Config, Document, Export, Metrics, Route};
use crate::secret::{Fingerprinter, SecretSource, SecretSources};
use crate::selector::{Part, SelectorParts};

/// Builds a [`TracerRegistry`] from bindings given in code, or from a configuration that was loaded, with the program's own secret sources.
#[derive(Debug, Default)]
#[must_use = "a registry begins with `build`"]
pub struct RegistryBuilder {
    config: Option<Config>,
    document: Document,
    sources: SecretSources,
    fingerprinter: Fingerprinter,
}

impl RegistryBuilder {
    /// A configuration that was loaded from files, in place of bindings and settings given in code: both at once are an error.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// What every binding starts from.
    pub fn defaults(mut self, binding: Binding) -> Self {
        self.document.defaults = binding;
        self
    }

    /// The binding of an environment.
    pub fn environment(mut self, name: impl Into<String>, binding: Binding) -> Self {
        self.document.environments.insert(name.into(), binding);
        self
    }

    /// The binding of a feature.
    pub fn feature(mut self, name: impl Into<String>, binding: Binding) -> Self {
        self.document.features.insert(name.into(), binding);
        self
    }

    /// The binding of a tenant; of every tenant without one of its own for `"*"`.
    pub fn tenant(mut self, slug: impl Into<String>, binding: Binding) -> Self {
        self.document.tenants.insert(slug.into(), binding);
        self
    }

    /// What is laid over the bindings of a selector's parts where it has all of `when`'s.
    pub fn route(mut self, when: &SelectorParts, binding: Binding) -> Self {
        self.document.routes.push(Route::new(
            when.get(Part::Tenant),
            when.get(Part::Environment),
            when.get(Part::Feature),
            binding,
        ));
        self
    }

    /// The environment that [`TracerRegistry::active`] gives.
    pub fn active_environment(mut self, name: impl Into<String>) -> Self {
        self.document.active_environment = Some(ActiveEnvironment::Name(name.into()));
        self
    }

    /// How spans are sent.
    pub fn export(mut self, export: Export) -> Self {
        self.document.export = export;
        self
    }

    /// How much the registry's own metrics tell apart.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.document.metrics = metrics;
        self
    }

    /// A secret manager of the program's own, for keys `{ provider = "<name>", name = "..." }`.
    pub fn secret_source(mut self, name: impl Into<String>, source: impl SecretSource) -> Self {
        self.sources.insert(name, source);
        self
    }

    /// Makes fingerprints comparable with those of somebody else who has the same one.
    pub fn fingerprinter(mut self, fingerprinter: Fingerprinter) -> Self {
        self.fingerprinter = fingerprinter;
        self
    }

    /// Checks everything and starts the export threads. Reads no key.
    ///
    /// # Errors
    /// [`BuildError`]; for a configuration with faults, every fault. Nothing was started.
    pub fn build(self) -> Result<TracerRegistry, BuildError> {
        let config = match self.config {
            Some(_) if self.document != Document::default() => return Err(BuildError::TwoConfigurations),
            Some(config) => config,
            None => Config::from_document(self.document)?,
        };
        TracerRegistry::new(config, self.sources, self.fingerprinter)
    }
}
