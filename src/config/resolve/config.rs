//! The checked configuration, and the resolution of a selector's binding.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::problem::{ConfigError, Layer, Problems};
use crate::config::read::defined_paths::{DefinedPaths, DefinedPathsBuilder};
use crate::config::read::layers::{self, ActiveName};
use crate::config::read::variables::Variables;
use crate::config::resolve::error::ResolveError;
use crate::config::resolve::merge::MergedLayers;
use crate::config::resolve::proxy::{self, ProxyUrls};
use crate::config::resolve::resolved::{self, ResolvedBinding};
use crate::config::resolve::tenant::TenantBinding;
use crate::config::rules::check;
use crate::config::rules::routes::{self, Routes};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{ActiveEnvironment, Document, KeySettings, ReloadSettings, WILDCARD};
use crate::config::settings::export::ExportSettings;
use crate::config::settings::metrics::MetricsSettings;
use crate::config::settings::pool::PoolSettings;
use crate::config::settings::spool::SpoolSettings;
use crate::config::untrusted::{LayerOrigin, Rules};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorKind, Slug};

/// Minimum similarity and maximum number of suggested names.
const MIN_SIMILARITY: f64 = 0.75;
const MAX_SUGGESTIONS: usize = 3;
/// Number of known names compared on each side of an unknown one, in alphabetical order. Comparing
/// all of them would make the look-up of an unknown name linear in the number of names.
const COMPARED: usize = 250;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) document: Document,
    /// The binding of `[defaults]`, the lowest layer.
    defaults: Binding,
    routes: Routes,
    pub(crate) routing_default: Option<Selector>,
    active_environment: Option<Slug>,
    pub(crate) export: ExportSettings,
    pub(crate) pool: PoolSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) keys: KeySettings,
    pub(crate) reload: ReloadSettings,
    pub(crate) spool: SpoolSettings,
    proxies: ProxyUrls,
    untrusted: Rules,
    /// Whether the layer `gateway` is read.
    for_gateway: bool,
    /// Whether environment variables are overlaid on the files and may provide a proxy's URL.
    has_variables: bool,
    /// File or folder that it was read from. `None` if it was built in code.
    path: Option<PathBuf>,
    /// Tables and settings that the files define. Empty if it was built in code.
    defined_paths: DefinedPaths,
}

impl Config {
    /// Reads a configuration from a file, or from a folder with a file called `default`.
    ///
    /// A folder, or a file called `default.toml` (`.yaml`, `.yml`, `.json`), has layers, lowest
    /// first: `default`, the file named after the active environment, `local`, and the variables
    /// `TRACER_REGISTRY__SECTION__KEY`. Only the variables override a file of any other name.
    /// An environment called `default` or `local` has no separate file. Reads no key.
    ///
    /// Variable names are converted to lower case, and empty variables are ignored. A variable for
    /// an environment, feature or tenant changes an existing table. Its name has `_` for `-` and
    /// `.` of the table's name: `TRACER_REGISTRY__TENANTS__ACME_EU__SOURCE` changes
    /// `[tenants.acme-eu]`. It is an error if no table or several tables match. Write lists, and
    /// metadata that is a number or a boolean, as JSON:
    /// `TRACER_REGISTRY__TENANTS__ACME__API_KEY__EXEC=["pass", "acme"]`.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_layers(path.as_ref(), false, &Variables::from_process())
    }

    /// Like [`load`](Self::load), for the gateway. Unstable.
    ///
    /// A layer `gateway` is read after that of the active environment and before `local`. A file
    /// called `gateway` is layered with its neighbours too, and `default` may be missing beside it.
    /// An environment called `gateway` has no separate file.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer.
    #[cfg(feature = "gateway")]
    pub fn load_for_gateway(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_layers(path.as_ref(), true, &Variables::from_process())
    }

    /// Reads the same files again, from the same location. Returns a configuration built in code
    /// unchanged.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer.
    pub(crate) fn read_again(&self) -> Result<Self, ConfigError> {
        match &self.path {
            Some(path) if self.has_variables => Self::load_layers(path, self.for_gateway, &Variables::from_process()),
            Some(path) => Self::load_without_variables(path, self.for_gateway),
            None => Ok(self.clone()),
        }
    }

    /// Like [`load`](Self::load), but ignores environment variables, so that every process reads
    /// the same configuration from the same files.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer.
    pub fn load_files(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_without_variables(path.as_ref(), false)
    }

    /// Like [`load_for_gateway`](Self::load_for_gateway), but ignores environment variables.
    /// Unstable.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer.
    #[cfg(feature = "gateway")]
    pub fn load_files_for_gateway(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_without_variables(path.as_ref(), true)
    }

    fn load_without_variables(path: &Path, for_gateway: bool) -> Result<Self, ConfigError> {
        let mut config = Self::load_layers(path, for_gateway, &Variables::empty())?;
        config.has_variables = false;
        Ok(config)
    }

    pub(crate) fn load_layers(path: &Path, for_gateway: bool, variables: &Variables) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut paths = DefinedPathsBuilder::default();
        let document = layers::load(path, for_gateway, variables, &mut paths, &mut problems);
        let mut config = Self::finish(document, variables, problems)?;
        config.defined_paths = paths.finish();
        config.for_gateway = for_gateway;
        // Absolute, so that it can be read again after the process changes its working directory.
        config.path = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(config)
    }

    /// Checks a configuration built in code.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem.
    pub(crate) fn from_document(document: Document) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        problems.enter(Layer::Whole, "the builder");
        check::document(&document, &mut problems);
        Self::finish(document, &Variables::from_process(), problems)
    }

    fn finish(document: Document, variables: &Variables, mut problems: Problems) -> Result<Self, ConfigError> {
        let active_environment = active_environment(&document, variables, &mut problems);
        let proxies = proxy::read_urls(&document, variables, &mut problems);
        layers::check_folder(document.tenants_dir.as_deref(), &mut problems);
        document.spool.check_whole(&document.export, &mut problems);
        let routing_default = document.routing.default.as_ref();
        let mut defaults = document.defaults.clone();
        // Set the default backend, so that an upper binding that names the same one is not a change
        // of backend, which would discard the key.
        defaults.backend.get_or_insert_default();
        let config = Self {
            active_environment,
            proxies,
            routes: Routes::new(&document.routes),
            routing_default: routing_default.and_then(|when| routes::selector(when).ok()),
            export: document.export.settings(),
            metrics: document.metrics.settings(),
            keys: document.keys.settings(),
            reload: document.reload.settings(),
            pool: document.pool.settings(),
            spool: document.spool.settings(),
            // Ignores the problems, because the check of the document has already reported them.
            untrusted: Rules::read(&document.untrusted, &mut Problems::default()),
            document,
            defaults,
            for_gateway: false,
            has_variables: true,
            path: None,
            defined_paths: DefinedPaths::default(),
        };
        config.check_routing_default(&mut problems);
        config.check_copies(&mut problems);
        problems.into_result().map(|()| config)
    }

    /// Returns the active environment, if one is configured.
    pub fn active_environment(&self) -> Option<&Slug> {
        self.active_environment.as_ref()
    }

    /// Returns the export settings.
    pub fn export(&self) -> &ExportSettings {
        &self.export
    }

    /// Returns the settings of the registry's own metrics.
    pub fn metrics(&self) -> &MetricsSettings {
        &self.metrics
    }

    /// Returns the settings of the tracer pool.
    pub fn pool(&self) -> &PoolSettings {
        &self.pool
    }

    /// Returns the settings of data on disk.
    pub fn spool(&self) -> &SpoolSettings {
        &self.spool
    }

    /// Returns every selector that the configuration names, except those with the tenant `"*"`. A
    /// route with `tenant = "*"` yields one selector for each tenant with a table.
    pub fn selectors(&self) -> Vec<Selector> {
        let single = SelectorKind::ALL.into_iter().flat_map(|part| {
            let names = self.bindings(part).keys().filter_map(|name| Slug::new(name).ok());
            names.map(move |name| Selector::of(part, name))
        });
        let tenants = self.document.tenants.keys().filter_map(|name| Slug::new(name).ok());
        let wildcard = tenants.flat_map(|tenant| self.wildcard_route_selectors(&tenant));
        let exact = self.routes.selectors().cloned();
        single.chain(exact).chain(wildcard).collect()
    }

    /// Returns the parts of each route with `tenant = "*"`, with this tenant in place of `"*"`.
    /// Omits selectors for which an exact route exists.
    pub(crate) fn wildcard_route_selectors(&self, tenant: &Slug) -> Vec<Selector> {
        let parts = self.routes.wildcard_parts();
        let selectors = parts.map(|parts| parts.clone().with_tenant(tenant.clone()));
        selectors.filter(|selector| !self.routes.names(selector)).collect()
    }

    /// Returns whether `[tenants."*"]` exists.
    pub fn has_wildcard(&self) -> bool {
        self.document.tenants.contains_key(WILDCARD)
    }

    /// Returns the key sources of tenants that use the table `[tenants."*"]`: that of `tenant:*`
    /// first, then that of each route with `tenant = "*"`. Placeholders such as `{tenant}` are not
    /// filled in. Empty without that table.
    pub(crate) fn wildcard_keys(&self) -> Vec<(String, Result<KeySource, ResolveError>)> {
        if !self.has_wildcard() {
            return Vec::new();
        }
        let any_tenant = format!("{}:{WILDCARD}", SelectorKind::Tenant);
        let routes = self.routes.wildcard_parts();
        let routes = routes.map(|parts| (format!("{parts},{any_tenant}"), self.wildcard_key(Some(parts))));
        [(any_tenant.clone(), self.wildcard_key(None))]
            .into_iter()
            .chain(routes)
            .collect()
    }

    /// Returns the key source of a tenant that uses the table `[tenants."*"]`, in a selector with
    /// these other parts.
    fn wildcard_key(&self, parts: Option<&Selector>) -> Result<KeySource, ResolveError> {
        let mut merged = self.defaults.clone();
        let mut at = LayerOrigin::Defaults;
        let tables = parts.into_iter().flat_map(Selector::parts);
        let tables = tables.filter_map(|(part, name)| {
            let (name, binding) = self.binding_of(part, name)?;
            Some((LayerOrigin::Table(part, name), binding))
        });
        let wildcard = self.document.tenants.get(WILDCARD);
        let wildcard = wildcard.map(|binding| (LayerOrigin::Table(SelectorKind::Tenant, WILDCARD), &**binding));
        let routes = parts.map_or_else(Vec::new, |parts| self.routes.matching_wildcard(parts));
        let routes = routes
            .into_iter()
            .map(|(index, _)| (LayerOrigin::Route(index), &self.document.routes[index].binding));
        for (origin, binding) in tables.chain(wildcard).chain(routes) {
            let before = merged.discarded;
            merged.overlay(binding);
            if merged.discarded != before {
                at = origin;
            }
        }
        let discarded = |key| ResolveError::discarded(key, at);
        let none = merged.discarded.map_or(ResolveError::NoKey, discarded);
        merged.api_key.ok_or(none)
    }

    /// Returns whether a tenant has its own table.
    pub(crate) fn has_table(&self, tenant: &str) -> bool {
        self.document.tenants.contains_key(tenant)
    }

    /// Returns the folder with a file for each tenant, if one is configured.
    pub(crate) fn tenants_dir(&self) -> Option<&Path> {
        self.document.tenants_dir.as_deref()
    }

    /// Returns whether key files that every user may read or write are refused.
    pub(crate) fn has_strict_permissions(&self) -> bool {
        self.keys.strict_permissions
    }

    /// Returns whether the files are watched.
    pub(crate) fn is_watched(&self) -> bool {
        self.reload.watch
    }

    #[cfg(feature = "watch")]
    /// Returns the files of all layers, including those that do not exist. Empty if the
    /// configuration was built in code.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let path = self.path.as_deref();
        path.map_or_else(Vec::new, |path| {
            layers::files(path, self.for_gateway, self.active_environment())
        })
    }

    #[cfg(feature = "watch")]
    /// Returns whether the files of `newer` lack a table or setting of this configuration's files.
    pub(crate) fn any_removed_in(&self, newer: &Self) -> bool {
        self.defined_paths.any_removed_in(&newer.defined_paths)
    }

    /// Returns the file or folder that it was read from, for messages.
    #[cfg(feature = "gateway")]
    pub fn source(&self) -> String {
        let path = self.path.as_ref();
        path.map_or_else(|| "the builder".to_owned(), |path| path.display().to_string())
    }

    /// Returns whether environment variables are used.
    pub(crate) fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// Merges the bindings for a selector. Later ones override earlier ones: defaults, environment,
    /// feature, tenant, then routes, those with fewer parts first. Does not use tenant files or the
    /// program's binding source.
    ///
    /// # Errors
    /// Returns a [`ResolveError`] for a name that is not configured, a selector without a key, or a
    /// template that cannot be filled in.
    pub fn resolve(&self, selector: &Selector) -> Result<ResolvedBinding, ResolveError> {
        self.resolve_with(selector, None)
    }

    /// Like [`resolve`](Self::resolve), with the tenant's binding from a file or the program
    /// instead of a table.
    pub(crate) fn resolve_with(
        &self,
        selector: &Selector,
        tenant: Option<&TenantBinding>,
    ) -> Result<ResolvedBinding, ResolveError> {
        self.resolve_without_suggestions(selector, tenant)
            .map_err(|error| self.with_suggestions(error))
    }

    /// Like [`resolve_with`](Self::resolve_with), without suggestions: for errors that are not
    /// shown.
    pub(crate) fn resolve_without_suggestions(
        &self,
        selector: &Selector,
        tenant: Option<&TenantBinding>,
    ) -> Result<ResolvedBinding, ResolveError> {
        let mut merged = MergedLayers::new(selector, &self.untrusted);
        merged.overlay(&self.defaults, LayerOrigin::Defaults)?;
        // Of routes with equally many parts, the last one written wins.
        let routes = self.routes.matching(selector);
        for (part, name) in selector.parts() {
            if part == SelectorKind::Tenant
                && let Some(given) = tenant
            {
                self.overlay_tenant(&mut merged, given, name)?;
                continue;
            }
            let named_by_route = || routes.iter().any(|(_, route)| route.names(part, name));
            match self.binding_of(part, name) {
                Some((table, binding)) => merged.overlay(binding, LayerOrigin::Table(part, table))?,
                // A route alone can make a name known.
                None if named_by_route() => {}
                None => {
                    return Err(ResolveError::Unknown {
                        part,
                        name: name.clone(),
                        similar: Vec::new(),
                    });
                }
            }
        }
        for (index, _) in routes {
            merged.overlay(&self.document.routes[index].binding, LayerOrigin::Route(index))?;
        }
        let none = ProxyUrls::new();
        resolved::fill(
            merged,
            selector,
            [tenant.map_or(&none, |tenant| &tenant.proxies), &self.proxies],
        )
    }

    /// Overlays a tenant's binding from a file or the program. An untrusted binding does not
    /// replace `[tenants."*"]` but is laid over it, so that the operator's settings there apply.
    fn overlay_tenant<'a>(
        &'a self,
        merged: &mut MergedLayers<'a>,
        given: &'a TenantBinding,
        tenant: &'a Slug,
    ) -> Result<(), ResolveError> {
        let wildcard = self.document.tenants.get(WILDCARD);
        if let Some(wildcard) = wildcard.filter(|_| given.binding.untrusted) {
            merged.overlay(wildcard, LayerOrigin::Table(SelectorKind::Tenant, WILDCARD))?;
        }
        let file = &given.file;
        Ok(merged.overlay(&given.binding, LayerOrigin::Tenant { tenant, file })?)
    }

    /// Adds similar names to the error of an unknown name.
    fn with_suggestions(&self, mut error: ResolveError) -> ResolveError {
        if let ResolveError::Unknown { part, name, similar } = &mut error {
            *similar = self.similar(*part, name);
        }
        error
    }

    fn similar(&self, part: SelectorKind, name: &Slug) -> Vec<String> {
        let (known, at) = (self.bindings(part), name.as_str());
        let before = known.range::<str, _>((Bound::Unbounded, Bound::Excluded(at)));
        let after = known.range::<str, _>((Bound::Included(at), Bound::Unbounded));
        let (before, after) = (before.rev().take(COMPARED), after.take(COMPARED));
        let mut scored: Vec<(f64, &String)> = before
            .chain(after)
            .map(|(known, _)| (strsim::jaro_winkler(known, name), known))
            .filter(|(score, known)| *score >= MIN_SIMILARITY && *known != WILDCARD)
            .collect();
        scored.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
        let nearest = scored.into_iter().take(MAX_SUGGESTIONS);
        nearest.map(|(_, known)| known.clone()).collect()
    }

    fn bindings(&self, part: SelectorKind) -> &BTreeMap<String, Arc<Binding>> {
        let (_, _, bindings) = self.document.tables()[part as usize];
        bindings
    }

    /// Returns the table for a name, and the name of that table: the same name, or `"*"` for a
    /// tenant without a table.
    fn binding_of<'a>(&'a self, part: SelectorKind, name: &'a str) -> Option<(&'a str, &'a Binding)> {
        let bindings = self.bindings(part);
        let table = |name: &'a str| bindings.get(name).map(|binding| (name, &**binding));
        let wildcard = || {
            if part == SelectorKind::Tenant {
                table(WILDCARD)
            } else {
                None
            }
        };
        table(name).or_else(wildcard)
    }
}

/// Returns the name of the active environment, if one is selected. Adds a problem if it is not
/// configured.
fn active_environment(document: &Document, variables: &Variables, problems: &mut Problems) -> Option<Slug> {
    let choice = document.active_environment.as_ref()?;
    let ActiveName(name) = layers::active_name(choice, variables)?;
    let known = document.environments.keys().map(String::as_str);
    if let Ok(name) = &name
        && document.environments.contains_key(name)
    {
        // An invalid name is a problem of its table.
        return Slug::new(name).ok();
    }
    // An unreadable file may declare the environment.
    if !problems.has_unread_file() {
        // The variable's value is not shown, because the wrong variable may hold a key.
        let selected = match (choice, &name) {
            (ActiveEnvironment::Slug(name), _) => format!("\"{}\"", name.escape_default()),
            (ActiveEnvironment::Variable(variable), _) if variables.get(&variable.env).is_some() => {
                format!("the value of the variable {}", variable.env.escape_default())
            }
            (ActiveEnvironment::Variable(_), Ok(default)) => format!("the default \"{}\"", default.escape_default()),
            (ActiveEnvironment::Variable(_), Err(())) => "the default".to_owned(),
        };
        let known: Vec<&str> = known.collect();
        let known = if known.is_empty() {
            "none is configured".to_owned()
        } else {
            format!("configured: {}", known.join(", "))
        };
        problems.add(
            "active_environment",
            format!("{selected} is not a configured environment; {known}"),
        );
    }
    None
}
