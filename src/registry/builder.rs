//! Building a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::binding_cache::{AsyncBindingSource, BindingCacheOptions, BindingSource, Source};
use super::error::BuildError;
use super::handle::TracerRegistry;
use super::start::start;
use crate::config::{ActiveEnvironment, Binding, Config, Document, Export, Metrics, Pool, Route, Routing, Untrusted};
use crate::secret::{Fingerprinter, SecretSource, SecretSources};
use crate::selector::SelectorBuilder;

/// Builds a [`TracerRegistry`] from bindings given in code, or from a loaded configuration, with the program's own secret sources.
#[derive(Debug, Default)]
#[must_use = "a registry begins with `build`"]
pub struct RegistryBuilder {
    config: Option<Config>,
    document: Document,
    sources: SecretSources,
    fingerprinter: Fingerprinter,
    source: Option<Source>,
    binding_cache: BindingCacheOptions,
}

impl TracerRegistry {
    /// Reads the configuration from a file or a folder ([`Config::load`]) and starts the export threads (none with `export.mode = "inline"`).
    /// Reads no key.
    ///
    /// # Errors
    /// [`BuildError::Config`] with every fault of the configuration; nothing was started.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::builder().config(Config::load(path)?).build()
    }

    /// Returns a builder for a registry made in code: bindings without files, the program's own secret sources.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }
}

impl RegistryBuilder {
    /// A loaded configuration, in place of bindings and settings given in code: both at once are an error.
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

    /// What is laid over the bindings of a selector's parts if it has all of `when`'s. The tenant `"*"` is every tenant that is known:
    /// `Selector::feature("search").tenant("*")` with `{tenant}` in its binding gives every tenant's searches a project of their own.
    pub fn route(mut self, when: &SelectorBuilder, binding: Binding) -> Self {
        self.document.routes.push(Route::new(when, binding));
        self
    }

    /// The tracer of spans that are made outside any scope, as `routing.default` in the configuration.
    pub fn routing_default(mut self, default: &SelectorBuilder) -> Self {
        self.document.routing = Routing {
            default: Some(default.into()),
        };
        self
    }

    /// The environment whose tracer [`TracerRegistry::active`] returns.
    pub fn active_environment(mut self, name: impl Into<String>) -> Self {
        self.document.active_environment = Some(ActiveEnvironment::Slug(name.into()));
        self
    }

    /// How spans are sent.
    pub fn export(mut self, export: Export) -> Self {
        self.document.export = export;
        self
    }

    /// How many tracers are kept, and for how long.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.document.pool = pool;
        self
    }

    /// How many tracers have series of their own in the registry's own metrics.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.document.metrics = metrics;
        self
    }

    /// A secret manager of the program's own, for keys `{ provider = "<name>", name = "..." }`.
    pub fn secret_source(mut self, name: impl Into<String>, source: impl SecretSource) -> Self {
        self.sources.insert(name, source);
        self
    }

    /// A folder with a file for each tenant, as `tenants_dir` in the configuration. A relative path begins at the folder of the process.
    pub fn tenants_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        // Absolute, so that it is the same folder after the process went to another one.
        self.document.tenants_dir = Some(std::path::absolute(&folder).unwrap_or(folder));
        self
    }

    /// Whether a file with a key is refused if every user of the machine may read or write it, as `keys.strict_permissions` in the
    /// configuration. Default: false.
    pub fn strict_permissions(mut self, strict: bool) -> Self {
        self.document.keys.strict_permissions = Some(strict);
        self
    }

    /// What files of `tenants_dir` and bindings from [`Binding::from_json`] may choose, as `[untrusted]` in the configuration. Default: neither a
    /// key nor an endpoint.
    pub fn untrusted(mut self, untrusted: Untrusted) -> Self {
        self.document.untrusted = untrusted;
        self
    }

    /// Whether the files are watched, as `reload.watch` in the configuration.
    pub fn watch(mut self, watch: bool) -> Self {
        self.document.reload.watch = Some(watch);
        self
    }

    /// Where the program keeps bindings of tenants. Replaces an earlier source.
    pub fn binding_source(mut self, source: impl BindingSource) -> Self {
        self.source = Some(Source::Blocking(Arc::new(source)));
        self
    }

    /// As [`binding_source`](Self::binding_source), asked asynchronously.
    pub fn async_binding_source(mut self, source: impl AsyncBindingSource) -> Self {
        self.source = Some(Source::Async(Arc::new(source)));
        self
    }

    /// For how long the source's answers are cached, and how many.
    pub fn binding_cache(mut self, options: BindingCacheOptions) -> Self {
        self.binding_cache = options;
        self
    }

    /// Makes fingerprints comparable with those of another program that has the same fingerprinter.
    pub fn fingerprinter(mut self, fingerprinter: Fingerprinter) -> Self {
        self.fingerprinter = fingerprinter;
        self
    }

    /// Checks everything and starts the export threads (none with `export.mode = "inline"`). Reads no key.
    ///
    /// # Errors
    /// [`BuildError`]; for a configuration with faults, every fault. Nothing was started.
    pub fn build(self) -> Result<TracerRegistry, BuildError> {
        let config = match self.config {
            Some(_) if self.document != Document::default() => return Err(BuildError::TwoConfigurations),
            Some(config) => config,
            None => Config::from_document(self.document)?,
        };
        let source = self.source.map(|source| (source, self.binding_cache));
        start(config, source, self.sources, self.fingerprinter)
    }
}
