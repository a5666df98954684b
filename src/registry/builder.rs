//! Building a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "spool")]
use tracer_registry_spool::{Event, Store};

use super::binding_cache::{AsyncBindingSource, BindingCacheOptions, BindingSource, Source};
use super::error::BuildError;
use super::handle::TracerRegistry;
#[cfg(feature = "redact")]
use super::redactors::GivenRedactors;
#[cfg(feature = "gateway")]
use super::reload::PreparedReload;
use super::reload::ReloadExtension;
#[cfg(feature = "spool")]
use super::spool::GivenStore;
use super::start::start;
#[cfg(feature = "spool")]
use crate::config::SpoolMode;
use crate::config::{
    ActiveEnvironment, Binding, Config, Document, Export, Metrics, Pool, Route, Routing, Spool, Untrusted,
};
#[cfg(feature = "redact")]
use crate::policy::redaction::Redactor;
use crate::secret::{Fingerprinter, SecretSource, SecretSources};
use crate::selector::SelectorBuilder;

/// Builder of a [`TracerRegistry`], from a loaded configuration or from bindings defined in code.
#[derive(Debug, Default)]
#[must_use = "call `build` to create the registry"]
pub struct RegistryBuilder {
    config: Option<Config>,
    document: Document,
    sources: SecretSources,
    fingerprinter: Fingerprinter,
    source: Option<Source>,
    binding_cache: BindingCacheOptions,
    extension: ReloadExtension,
    #[cfg(feature = "redact")]
    redactors: GivenRedactors,
    #[cfg(feature = "spool")]
    store: GivenStore,
}

impl TracerRegistry {
    /// Loads the configuration from a file or a folder ([`Config::load`]) and starts the export
    /// threads (none with `export.mode = "inline"`). Reads no key.
    ///
    /// # Errors
    /// [`BuildError::Config`] with every error of the configuration. Nothing is started.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::builder().config(Config::load(path)?).build()
    }

    /// Creates a builder for bindings defined in code and custom secret sources.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }
}

impl RegistryBuilder {
    /// Uses a loaded configuration. [`build`](Self::build) fails if bindings or settings are also
    /// defined in code.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Sets the default binding. All other bindings override its settings.
    pub fn defaults(mut self, binding: Binding) -> Self {
        self.document.defaults = binding;
        self
    }

    /// Sets the binding of an environment.
    pub fn environment(mut self, name: impl Into<String>, binding: Binding) -> Self {
        self.document.environments.insert(name.into(), binding.into());
        self
    }

    /// Sets the binding of a feature.
    pub fn feature(mut self, name: impl Into<String>, binding: Binding) -> Self {
        self.document.features.insert(name.into(), binding.into());
        self
    }

    /// Sets the binding of a tenant. That of `"*"` applies to each tenant without its own binding.
    pub fn tenant(mut self, slug: impl Into<String>, binding: Binding) -> Self {
        self.document.tenants.insert(slug.into(), binding.into());
        self
    }

    /// Adds a binding for selectors that contain all parts of `when`. It overrides the bindings of
    /// the environment, the feature and the tenant.
    ///
    /// The tenant `"*"` in `when` matches every known tenant. For example, a route for
    /// `Selector::feature("search").tenant("*")` with the project `search-{tenant}` separates the
    /// searches of each tenant.
    pub fn route(mut self, when: &SelectorBuilder, binding: Binding) -> Self {
        self.document.routes.push(Route::new(when, binding));
        self
    }

    /// Sets the selector of the tracer that receives spans created outside any scope, like
    /// `routing.default` in the configuration.
    pub fn routing_default(mut self, default: &SelectorBuilder) -> Self {
        self.document.routing = Routing {
            default: Some(default.into()),
        };
        self
    }

    /// Sets the environment whose tracer [`TracerRegistry::active`] returns.
    pub fn active_environment(mut self, name: impl Into<String>) -> Self {
        self.document.active_environment = Some(ActiveEnvironment::Slug(name.into()));
        self
    }

    /// Sets how spans are exported.
    pub fn export(mut self, export: Export) -> Self {
        self.document.export = export;
        self
    }

    /// Sets the size of the tracer pool and its idle timeout.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.document.pool = pool;
        self
    }

    /// Sets how many tracers get their own series in the registry's metrics.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.document.metrics = metrics;
        self
    }

    /// Sets what is written to disk, so that it survives the process. A relative path is resolved
    /// against the working directory of the process. Default: nothing.
    pub fn spool(mut self, mut spool: Spool) -> Self {
        // Absolute, so that it does not change with the working directory.
        spool.path = spool.path.map(|path| std::path::absolute(&path).unwrap_or(path));
        self.document.spool = spool;
        self
    }

    /// Adds a custom secret source for keys of the form `{ provider = "<name>", name = "..." }`.
    pub fn secret_source(mut self, name: impl Into<String>, source: impl SecretSource) -> Self {
        self.sources.insert(name, source);
        self
    }

    /// Adds a redactor for all tracers: it decides about each text before it is stored or sent, after
    /// the rules of the binding (`redact`), and also without any. Several redactors decide in the
    /// order in which they were added.
    ///
    /// It is called on the export threads, in the gateway on those that receive, and on the thread of
    /// a session's call while its events go to disk first. So it should be quick. A panic in it drops
    /// the value, not the span.
    ///
    /// ```
    /// use tracer_registry::TracerRegistry;
    /// use tracer_registry::redact::{Decision, Redactor, Value};
    ///
    /// /// Removes the names of customers, which no pattern finds.
    /// struct Customers(Vec<String>);
    ///
    /// impl Redactor for Customers {
    ///     fn redact(&self, value: &Value<'_>) -> Decision {
    ///         if self.0.iter().any(|customer| value.text.contains(customer.as_str())) {
    ///             Decision::Drop
    ///         } else {
    ///             Decision::Keep
    ///         }
    ///     }
    /// }
    ///
    /// let builder = TracerRegistry::builder().redactor(Customers(vec!["Initech".to_owned()]));
    /// # drop(builder);
    /// ```
    #[cfg(feature = "redact")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redact")))]
    pub fn redactor(mut self, redactor: impl Redactor) -> Self {
        self.redactors.add(None, Arc::new(redactor));
        self
    }

    /// Like [`redactor`](Self::redactor), for tracers with a selector that contains all parts of
    /// `when`, such as `Selector::tenant("acme")`. [`build`](Self::build) fails if `when` is not a
    /// valid selector.
    #[cfg(feature = "redact")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redact")))]
    pub fn redactor_for(mut self, when: &SelectorBuilder, redactor: impl Redactor) -> Self {
        self.redactors.add(Some(when.clone()), Arc::new(redactor));
        self
    }

    /// Sets the folder with one file per tenant, like `tenants_dir` in the configuration. A
    /// relative path is resolved against the working directory of the process.
    pub fn tenants_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        // Absolute, so that it does not change with the working directory.
        self.document.tenants_dir = Some(std::path::absolute(&folder).unwrap_or(folder));
        self
    }

    /// Sets whether to refuse a key file that every user of the machine may read or write, like
    /// `keys.strict_permissions` in the configuration. Default: false.
    pub fn strict_permissions(mut self, strict: bool) -> Self {
        self.document.keys.strict_permissions = Some(strict);
        self
    }

    /// Sets which keys, endpoints and projects untrusted bindings may choose, like `[untrusted]` in
    /// the configuration. Files of `tenants_dir` and bindings from [`Binding::from_json`] are
    /// untrusted. Default: none.
    pub fn untrusted(mut self, untrusted: Untrusted) -> Self {
        self.document.untrusted = untrusted;
        self
    }

    /// Sets whether to watch the configuration files, like `reload.watch` in the configuration.
    pub fn watch(mut self, watch: bool) -> Self {
        self.document.reload.watch = Some(watch);
        self
    }

    /// Sets the source of bindings for tenants that have neither a binding nor a file. Replaces an
    /// earlier source.
    pub fn binding_source(mut self, source: impl BindingSource) -> Self {
        self.source = Some(Source::Blocking(Arc::new(source)));
        self
    }

    /// Like [`binding_source`](Self::binding_source), for an async source.
    pub fn async_binding_source(mut self, source: impl AsyncBindingSource) -> Self {
        self.source = Some(Source::Async(Arc::new(source)));
        self
    }

    /// Sets how many answers of the binding source are cached, and for how long.
    pub fn binding_cache(mut self, options: BindingCacheOptions) -> Self {
        self.binding_cache = options;
        self
    }

    /// Sets the fingerprinter of API keys. Programs with the same fingerprinter compute the same
    /// fingerprint of a key.
    pub fn fingerprinter(mut self, fingerprinter: Fingerprinter) -> Self {
        self.fingerprinter = fingerprinter;
        self
    }

    /// Calls `prepare` with the configuration now, and with each one that a reload reads, before it
    /// is applied. Unstable.
    ///
    /// A reload changes nothing if `prepare` refuses the configuration, and [`build`](Self::build)
    /// fails. It must not call the registry.
    #[cfg(feature = "gateway")]
    pub fn reload_extension(mut self, prepare: impl Fn(&Config) -> PreparedReload + Send + Sync + 'static) -> Self {
        self.extension = ReloadExtension::new(prepare);
        self
    }

    /// Uses a store for data on disk, which `open` opens with the function that the store reports to.
    /// It must report what it holds before it returns. Unstable.
    #[cfg(feature = "spool")]
    #[doc(hidden)]
    pub fn store(
        mut self,
        mode: SpoolMode,
        open: impl FnOnce(Arc<dyn Fn(Event) + Send + Sync>) -> Result<Arc<dyn Store>, BuildError> + Send + 'static,
    ) -> Self {
        self.store = GivenStore::new(mode, open);
        self
    }

    /// Leaves the files of `[spool]` alone, for a check of the configuration. Unstable.
    #[cfg(feature = "spool")]
    #[doc(hidden)]
    pub fn without_spool(mut self) -> Self {
        self.store = GivenStore::none();
        self
    }

    /// Validates everything and starts the export threads (none with `export.mode = "inline"`).
    /// Reads no key.
    ///
    /// # Errors
    /// [`BuildError`], with every error of the configuration. Nothing is started.
    pub fn build(self) -> Result<TracerRegistry, BuildError> {
        let config = match self.config {
            Some(_) if self.document != Document::default() => return Err(BuildError::TwoConfigurations),
            Some(config) => config,
            None => Config::from_document(self.document)?,
        };
        let source = self.source.map(|source| (source, self.binding_cache));
        start(
            config,
            source,
            self.sources,
            self.fingerprinter,
            self.extension,
            #[cfg(feature = "redact")]
            self.redactors,
            #[cfg(feature = "spool")]
            self.store,
        )
    }
}
