//! The checked configuration, and what it says for one selector.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::config::fault::{ConfigError, Faults, Layer};
use crate::config::read::layers::{self, ActiveName};
use crate::config::read::shape::{Shape, Shapes};
use crate::config::read::variables::Variables;
use crate::config::resolve::error::ResolveError;
use crate::config::resolve::merge::MergedLayers;
use crate::config::resolve::proxy::{self, OfVariables};
use crate::config::resolve::resolved::{self, ResolvedBinding};
use crate::config::resolve::tenant::TenantBinding;
use crate::config::rules::check;
use crate::config::rules::routes::{self, Routes};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{ActiveEnvironment, Document, KeySettings, ReloadSettings, WILDCARD};
use crate::config::settings::export::ExportSettings;
use crate::config::settings::metrics::MetricsSettings;
use crate::config::settings::pool::PoolSettings;
use crate::config::untrusted::{LayerPlace, Rules};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorKind, Slug};

/// How alike a known name must be to be suggested, and how many are.
const SIMILAR: f64 = 0.75;
const MAX_SUGGESTIONS: usize = 3;
/// How many known names on each side of an unknown one, in the order of names, are compared with it. All of them would make a look-up of an
/// unknown name as slow as there are names.
const COMPARED: usize = 250;

/// A configuration that was checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) document: Document,
    routes: Routes,
    pub(crate) routing_default: Option<Selector>,
    active_environment: Option<Slug>,
    pub(crate) export: ExportSettings,
    pub(crate) pool: PoolSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) keys: KeySettings,
    pub(crate) reload: ReloadSettings,
    proxies: OfVariables,
    untrusted: Rules,
    /// Whether variables of the process are laid over the files, and may say what a proxy is.
    has_variables: bool,
    /// The file or folder it was read from; none if it was made in code.
    path: Option<PathBuf>,
    /// Which tables and settings the files have; nothing if it was made in code.
    shape: Shape,
}

impl Config {
    /// Reads a configuration from a file, or from a folder with a file called `default`.
    ///
    /// A folder, or a file called `default.toml` (`.yaml`, `.yml`, `.json`), is layered: `default`, then the file called as the active
    /// environment, then `local`, then the variables `TRACER_REGISTRY__SECTION__KEY`. A file of any other name stands alone, below the
    /// variables. An environment called `default` or `local` has no file of its own. Reads no key.
    ///
    /// Variables are folded to lower case; a variable that is set to nothing says nothing. A variable about an environment, a feature or a
    /// tenant means the one table of the files that it can write, with `_` for `-` and `.` too: `TRACER_REGISTRY__TENANTS__ACME_EU__SOURCE`
    /// means `[tenants.acme-eu]`. None or two such tables are a fault. A list, and metadata that is a number or a boolean, are written as JSON: `TRACER_REGISTRY__TENANTS__ACME__API_KEY__EXEC=["pass", "acme"]`.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every layer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_with(path.as_ref(), &Variables::of_the_process())
    }

    /// Reads the same files again, from the same place; what was made in code stays as it is.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every layer.
    pub(crate) fn read_again(&self) -> Result<Self, ConfigError> {
        match &self.path {
            Some(path) if self.has_variables => Self::load(path),
            Some(path) => Self::load_files(path),
            None => Ok(self.clone()),
        }
    }

    /// As [`load`](Self::load), as if the process had no variables: every process reads the same from the files.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every layer.
    pub fn load_files(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut config = Self::load_with(path.as_ref(), &Variables::none())?;
        config.has_variables = false;
        Ok(config)
    }

    pub(crate) fn load_with(path: &Path, variables: &Variables) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let mut shapes = Shapes::default();
        let document = layers::load(path, variables, &mut shapes, &mut faults);
        let mut config = Self::finish(document, variables, faults)?;
        config.shape = shapes.finish();
        // Absolute, so that it is read again also after the process went to another folder.
        config.path = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(config)
    }

    /// Checks a configuration made in code.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub(crate) fn from_document(document: Document) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        faults.enter(Layer::Whole, "the builder");
        check::document(&document, &mut faults);
        Self::finish(document, &Variables::of_the_process(), faults)
    }

    fn finish(document: Document, variables: &Variables, mut faults: Faults) -> Result<Self, ConfigError> {
        let active_environment = active_environment(&document, variables, &mut faults);
        let proxies = proxy::of_variables(&document, variables, &mut faults);
        layers::check_folder(document.tenants_dir.as_deref(), &mut faults);
        let routing_default = document.routing.default.as_ref();
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
            // What is no pattern is a fault already.
            untrusted: Rules::read(&document.untrusted, &mut Faults::default()),
            document,
            has_variables: true,
            path: None,
            shape: Shape::default(),
        };
        config.check_routing_default(&mut faults);
        faults.into_result().map(|()| config)
    }

    /// The environment that is active, if one is configured.
    pub fn active_environment(&self) -> Option<&Slug> {
        self.active_environment.as_ref()
    }

    /// How spans are sent.
    pub fn export(&self) -> &ExportSettings {
        &self.export
    }

    /// How much the registry's own metrics tell apart.
    pub fn metrics(&self) -> &MetricsSettings {
        &self.metrics
    }

    /// How many tracers are kept, and for how long.
    pub fn pool(&self) -> &PoolSettings {
        &self.pool
    }

    /// Every selector that the configuration names, the wildcard left out. A route with `tenant = "*"` makes one with each tenant
    /// that has a table.
    pub fn selectors(&self) -> Vec<Selector> {
        let single = SelectorKind::ALL.into_iter().flat_map(|part| {
            let names = self.bindings(part).keys().filter_map(|name| Slug::new(name).ok());
            names.map(move |name| Selector::of(part, name))
        });
        let tenants = self.document.tenants.keys().filter_map(|name| Slug::new(name).ok());
        let of_any_tenant = tenants.flat_map(|tenant| self.selectors_of_any_tenant(&tenant));
        let exact = self.routes.selectors().cloned();
        single.chain(exact).chain(of_any_tenant).collect()
    }

    /// The selectors that routes with `tenant = "*"` make with a tenant, without those that have a route of their own.
    pub(crate) fn selectors_of_any_tenant(&self, tenant: &Slug) -> Vec<Selector> {
        let parts = self.routes.parts_beside_any_tenant();
        let selectors = parts.map(|parts| parts.clone().with_tenant(tenant.clone()));
        selectors.filter(|selector| !self.routes.names(selector)).collect()
    }

    /// Whether tenants without a table of their own have a binding.
    pub fn has_wildcard(&self) -> bool {
        self.document.tenants.contains_key(WILDCARD)
    }

    /// Where the keys of tenants without a table of their own come from, placeholders as written, by what they are for: `tenant:*`, and
    /// each route with `tenant = "*"`. None if there is no wildcard.
    pub(crate) fn wildcard_keys(&self) -> Vec<(String, Result<KeySource, ResolveError>)> {
        if !self.has_wildcard() {
            return Vec::new();
        }
        let any_tenant = format!("{}:{WILDCARD}", SelectorKind::Tenant);
        let routes = self.routes.parts_beside_any_tenant();
        let routes = routes.map(|parts| (format!("{parts},{any_tenant}"), self.wildcard_key(Some(parts))));
        [(any_tenant.clone(), self.wildcard_key(None))]
            .into_iter()
            .chain(routes)
            .collect()
    }

    /// The key of any tenant, together with other parts if there are some.
    fn wildcard_key(&self, parts: Option<&Selector>) -> Result<KeySource, ResolveError> {
        let mut merged = self.defaults();
        let mut at = LayerPlace::Defaults;
        let tables = parts.into_iter().flat_map(Selector::parts);
        let tables = tables.filter_map(|(part, name)| {
            let (name, binding) = self.binding_of(part, name)?;
            Some((LayerPlace::Table(part, name), binding))
        });
        let wildcard = self.document.tenants.get(WILDCARD);
        let wildcard = wildcard.map(|binding| (LayerPlace::Table(SelectorKind::Tenant, WILDCARD), binding));
        let routes = parts.map_or_else(Vec::new, |parts| self.routes.of_parts_beside_any_tenant(parts));
        let routes = routes
            .into_iter()
            .map(|(place, _)| (LayerPlace::Route(place), &self.document.routes[place].binding));
        for (place, binding) in tables.chain(wildcard).chain(routes) {
            let before = merged.forgotten;
            merged.overlay(binding);
            if merged.forgotten != before {
                at = place;
            }
        }
        let forgotten = |change| ResolveError::KeyForgotten {
            change,
            at: at.to_string(),
        };
        let none = merged.forgotten.map_or(ResolveError::NoKey, forgotten);
        merged.api_key.ok_or(none)
    }

    /// Whether a tenant has a table of its own.
    pub(crate) fn has_table(&self, tenant: &str) -> bool {
        self.document.tenants.contains_key(tenant)
    }

    /// The folder with a file for each tenant, if there is one.
    pub(crate) fn tenants_dir(&self) -> Option<&Path> {
        self.document.tenants_dir.as_deref()
    }

    /// Whether a file with a key is refused if every user may read or write it.
    pub(crate) fn has_strict_permissions(&self) -> bool {
        self.keys.strict_permissions
    }

    /// Whether the files are watched.
    pub(crate) fn is_watched(&self) -> bool {
        self.reload.watch
    }

    #[cfg(feature = "watch")]
    /// The files that it is made of, and those that would be laid over them if they were there. None if it was made in code.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let path = self.path.as_deref();
        path.map_or_else(Vec::new, |path| layers::files(path, self.active_environment()))
    }

    #[cfg(feature = "watch")]
    /// Whether the files had a table or a setting that those of `newer` have no more.
    pub(crate) fn loses(&self, newer: &Self) -> bool {
        self.shape.loses(&newer.shape)
    }

    /// Whether variables of the process have a say.
    pub(crate) fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// What the configuration says for a selector: defaults < environment < feature < tenant < route. Routes with fewer parts come
    /// before those with more; the key is the last one set. Tenants' files and a program's source of bindings are not asked.
    ///
    /// # Errors
    /// [`ResolveError`] for a name that is not configured, a selector without a key, or a template that cannot be filled in.
    pub fn resolve(&self, selector: &Selector) -> Result<ResolvedBinding, ResolveError> {
        self.resolve_with(selector, None)
    }

    /// As [`resolve`](Self::resolve), with the tenant's binding from elsewhere in place of a table of the tenant's own.
    pub(crate) fn resolve_with(
        &self,
        selector: &Selector,
        tenant: Option<&TenantBinding>,
    ) -> Result<ResolvedBinding, ResolveError> {
        self.resolve_for_program(selector, tenant)
            .map_err(|error| self.with_suggestions(error))
    }

    /// As [`resolve_with`](Self::resolve_with), without suggestions: for errors that are not shown.
    pub(crate) fn resolve_for_program(
        &self,
        selector: &Selector,
        tenant: Option<&TenantBinding>,
    ) -> Result<ResolvedBinding, ResolveError> {
        let mut merged = MergedLayers::new(selector, &self.untrusted);
        merged.lay(&self.defaults(), LayerPlace::Defaults)?;
        // Among routes with equally many parts the one written last wins.
        let routes = self.routes.of(selector);
        for (part, name) in selector.parts() {
            if part == SelectorKind::Tenant
                && let Some(given) = tenant
            {
                self.lay_given(&mut merged, given, name)?;
                continue;
            }
            let by_a_route = || routes.iter().any(|(_, route)| route.names(part, name));
            match self.binding_of(part, name) {
                Some((table, binding)) => merged.lay(binding, LayerPlace::Table(part, table))?,
                // A name may be known by a route alone.
                None if by_a_route() => {}
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
            merged.lay(&self.document.routes[index].binding, LayerPlace::Route(index))?;
        }
        let none = OfVariables::new();
        resolved::fill(
            merged,
            selector,
            [tenant.map_or(&none, |tenant| &tenant.proxies), &self.proxies],
        )
    }

    /// A tenant's binding from elsewhere. One that is not the operator's is laid over what holds for every tenant: it chooses among what it is given.
    fn lay_given<'a>(
        &'a self,
        merged: &mut MergedLayers<'a>,
        given: &'a TenantBinding,
        tenant: &'a Slug,
    ) -> Result<(), ResolveError> {
        let wildcard = self.document.tenants.get(WILDCARD);
        if let Some(wildcard) = wildcard.filter(|_| given.binding.untrusted) {
            merged.lay(wildcard, LayerPlace::Table(SelectorKind::Tenant, WILDCARD))?;
        }
        let file = &given.file;
        Ok(merged.lay(&given.binding, LayerPlace::Tenant { tenant, file })?)
    }

    /// The error, with names that are like one that is not configured.
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
            .filter(|(score, known)| *score >= SIMILAR && *known != WILDCARD)
            .collect();
        scored.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
        let nearest = scored.into_iter().take(MAX_SUGGESTIONS);
        nearest.map(|(_, known)| known.clone()).collect()
    }

    /// What every binding starts from.
    fn defaults(&self) -> Binding {
        let mut defaults = self.document.defaults.clone();
        // Said or not, this is the backend that the defaults are written for.
        defaults.backend.get_or_insert_default();
        defaults
    }

    fn bindings(&self, part: SelectorKind) -> &BTreeMap<String, Binding> {
        let (_, _, bindings) = self.document.tables()[part as usize];
        bindings
    }

    /// The table for a name, and what it is called.
    fn binding_of<'a>(&'a self, part: SelectorKind, name: &'a str) -> Option<(&'a str, &'a Binding)> {
        let bindings = self.bindings(part);
        let table = |name: &'a str| bindings.get(name).map(|binding| (name, binding));
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

/// The name of the active environment, if one is chosen; a fault for one that is not configured.
fn active_environment(document: &Document, variables: &Variables, faults: &mut Faults) -> Option<Slug> {
    let choice = document.active_environment.as_ref()?;
    let ActiveName(name) = layers::active_name(choice, variables)?;
    let known = document.environments.keys().map(String::as_str);
    if let Ok(name) = &name
        && document.environments.contains_key(name)
    {
        // A name that is not allowed is a fault of the table that has it.
        return Slug::new(name).ok();
    }
    // If a file could not be read, the environment may well be in it.
    if !faults.some_file_is_unread() {
        // A variable's value is not repeated: the wrong variable may have a key in it.
        let said = match (choice, &name) {
            (ActiveEnvironment::Slug(name), _) => format!("\"{}\"", name.escape_default()),
            (ActiveEnvironment::Variable(variable), _) if variables.get(&variable.env).is_some() => {
                format!("what the variable {} says", variable.env.escape_default())
            }
            (ActiveEnvironment::Variable(_), Ok(default)) => format!("the default \"{}\"", default.escape_default()),
            (ActiveEnvironment::Variable(_), Err(())) => "the default".to_owned(),
        };
        let known: Vec<&str> = known.collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        faults.add(
            "active_environment",
            format!("{said} is no configured environment; {known}"),
        );
    }
    None
}
