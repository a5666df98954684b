//! The configuration as written, of one layer or of several merged ones.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::config::problem::{Layer, quoted};
use crate::config::read::table::Table;
use crate::config::rules::values::needs_feature;
use crate::config::settings::binding::{BackendName, Binding};
use crate::config::settings::declare::{settings, table};
use crate::config::settings::export::Export;
use crate::config::settings::gateway::GatewayLayers;
use crate::config::settings::metrics::Metrics;
use crate::config::settings::pool::Pool;
use crate::config::settings::setting::{Field, Fields, Setting, impl_setting, path};
use crate::config::settings::spool::Spool;
use crate::config::settings::untrusted::Untrusted;
use crate::selector::{SelectorBuilder, SelectorKind};

/// Bindings by name. Layers share them, because there may be many.
pub(crate) type Bindings = BTreeMap<String, Arc<Binding>>;

table! {
    /// A configuration as written. Created from files by
    /// [`Config::load`](crate::config::Config::load), or in code.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[schema(title = "tracer-registry configuration")]
    #[overlay(Document::overlay)]
    pub(crate) struct Document {
        /// Environment of `registry.active()`, and of the file that is overlaid on the default
        /// file.
        pub(crate) active_environment: Option<ActiveEnvironment>,
        /// Base of every binding.
        pub(crate) defaults: Binding,
        /// Bindings by environment.
        #[schema(schema_with = "names::exact")]
        pub(crate) environments: Bindings,
        /// Bindings by feature.
        #[schema(schema_with = "names::exact")]
        pub(crate) features: Bindings,
        /// Bindings by tenant slug. The table `"*"` applies to every tenant without its own table;
        /// `{tenant}` in it is the slug.
        #[schema(schema_with = "names::or_wildcard")]
        pub(crate) tenants: Bindings,
        /// Folder with a file for each tenant, named after the slug, such as `acme.toml`, with the
        /// content of a table `[tenants.acme]`. A file is read when its tenant is looked up. The
        /// file of a tenant with a table here is not read.
        #[take(folder)]
        #[rule(not_empty)]
        pub(crate) tenants_dir: Option<PathBuf>,
        /// Bindings for several parts at once, overlaid on the bindings of the parts.
        pub(crate) routes: Vec<Route>,
        /// What files of `tenants_dir`, and bindings that a program reads from JSON, may set.
        pub(crate) untrusted: Untrusted,
        /// How spans are sent, for all tracers.
        pub(crate) export: Export,
        /// When the files are read again.
        pub(crate) reload: Reload,
        /// Requirements on key files.
        pub(crate) keys: Keys,
        /// Detail of the registry's own metrics.
        pub(crate) metrics: Metrics,
        /// How many tracers are kept, and for how long.
        pub(crate) pool: Pool,
        /// Data on disk, so that it survives the process.
        pub(crate) spool: Spool,
        /// Tracer of spans that are created outside any scope, by code without a tenant.
        pub(crate) routing: Routing,
        /// Settings of the gateway. The library keeps them unread.
        #[schema(schema_with = "names::any_table")]
        pub(crate) gateway: GatewayLayers,
    }
}

table! {
    /// `[routing]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub(crate) struct Routing {
        /// Tracer of spans that are created outside any scope. Default: none; they are counted but
        /// not recorded.
        pub(crate) default: Option<When>,
    }
}

settings! {
    /// `[reload]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("reload")]
    pub(crate) struct Reload {
        /// Whether the files are watched, and read again when they change. Default: false.
        #[default(false, can_watch)]
        pub(crate) watch: Option<bool>,
    }

    /// `[reload]` with every default filled in.
    pub(crate) struct ReloadSettings;
}

settings! {
    /// `[keys]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("keys")]
    pub(crate) struct Keys {
        /// Whether key files are refused if every user of the machine may read or write them (mode
        /// `o+r` or `o+w`). Unix only. Default: false; `tracer-registry check` warns about them.
        #[default(false, has_modes)]
        pub(crate) strict_permissions: Option<bool>,
    }

    /// `[keys]` with every default filled in.
    pub(crate) struct KeySettings;
}

impl_setting! {
    ActiveEnvironment: ActiveEnvironment::take;
}

fn folder(table: &mut Table<'_>, name: &'static str) -> Option<PathBuf> {
    path(table, name, "the path of a folder")
}

fn not_empty(folder: &Path) -> Option<String> {
    folder
        .as_os_str()
        .is_empty()
        .then(|| "expected the path of a folder".to_owned())
}

fn can_watch(watch: bool) -> Option<String> {
    (watch && cfg!(not(feature = "watch"))).then(|| needs_feature("watching files", "watch"))
}

fn has_modes(strict: bool) -> Option<String> {
    (strict && cfg!(not(unix))).then(|| "files have no mode on this system".to_owned())
}

/// Name of the table for every tenant without its own table.
pub(crate) const WILDCARD: &str = "*";

/// Selection of the active environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum ActiveEnvironment {
    /// This environment.
    Slug(String),
    /// The environment named by an environment variable.
    Variable(ActiveVariable),
}

/// An environment variable that names the active environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct ActiveVariable {
    /// Name of the variable.
    pub(crate) env: String,
    /// Environment if the variable is unset or empty.
    pub(crate) default: Option<String>,
}

/// A binding for selectors that have all parts of `when`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct Route {
    /// Parts that a selector must have.
    pub(crate) when: When,
    /// Settings of the route.
    #[cfg_attr(feature = "schema", schemars(flatten))]
    pub(crate) binding: Binding,
}

table! {
    /// Parts of a selector. A layer replaces it as a whole, because merging parts of two selectors
    /// would yield a third.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    #[overlay(When::clone_from)]
    pub(crate) struct When {
        /// Tenant slug. In a route, `"*"` matches every tenant and requires another part.
        pub(crate) tenant: Option<String>,
        /// Name of an environment.
        pub(crate) environment: Option<String>,
        /// Name of a feature.
        pub(crate) feature: Option<String>,
    }
}

impl Route {
    pub(crate) fn new(when: &SelectorBuilder, binding: Binding) -> Self {
        Self {
            when: when.into(),
            binding,
        }
    }
}

impl From<&SelectorBuilder> for When {
    fn from(parts: &SelectorBuilder) -> Self {
        let name = |part| parts.get(part).map(str::to_owned);
        Self {
            tenant: name(SelectorKind::Tenant),
            environment: name(SelectorKind::Environment),
            feature: name(SelectorKind::Feature),
        }
    }
}

impl Document {
    /// Returns the tables of named bindings, each with its kind and key.
    pub(crate) fn tables(&self) -> [(SelectorKind, &'static str, &Bindings); 3] {
        [
            (SelectorKind::Environment, "environments", &self.environments),
            (SelectorKind::Feature, "features", &self.features),
            (SelectorKind::Tenant, "tenants", &self.tenants),
        ]
    }

    /// Returns every binding with its key path.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (String, &Binding)> {
        let named = self.tables().into_iter().flat_map(|(_, table, bindings)| {
            let path = move |name| format!("{table}.{}", quoted(name));
            bindings.iter().map(move |(name, binding)| (path(name), &**binding))
        });
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| (format!("routes[{index}]"), &route.binding));
        let defaults = ("defaults".to_owned(), &self.defaults);
        std::iter::once(defaults).chain(named).chain(routes)
    }

    /// Overlays `over`, table by table. Routes with equal parts are merged.
    pub(crate) fn overlay(&mut self, over: &Self) {
        if over.defaults.backend == Some(BackendName::default()) {
            // The lower layer's defaults are written for this backend even if they do not name it,
            // so naming it above is no change.
            self.defaults.backend.get_or_insert_default();
        }
        self.overlay_fields(over);
    }

    /// Overlays the document of a layer. Keys that it discards are attributed to the layer.
    pub(crate) fn overlay_layer(&mut self, over: &Self, layer: Layer) {
        self.overlay(over);
        let attribute = |binding: &mut Binding| {
            if let Some(discarded) = &mut binding.discarded {
                discarded.layer.get_or_insert(layer);
            }
        };
        attribute(&mut self.defaults);
        self.routes.iter_mut().for_each(|route| attribute(&mut route.binding));
        let tables = [&mut self.environments, &mut self.features, &mut self.tenants];
        let named = tables.into_iter().flat_map(BTreeMap::values_mut);
        // The others stay shared.
        let changed = named.filter(|binding| binding.discarded.is_some());
        changed.for_each(|binding| attribute(Arc::make_mut(binding)));
    }
}

impl Field for Vec<Route> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        let items = table.items(name).into_iter();
        let routes = items.map(|(value, path)| {
            // Keeps the index of an invalid route, so that the others keep theirs.
            let Some(mut table) = Table::new(value, path, table.folder, table.problems) else {
                return Route::default();
            };
            // A route without parts is reported by the next stage.
            let when = table.table("when", When::take_fields).unwrap_or_default();
            let binding = Binding::take_fields(&mut table);
            table.finish();
            Route { when, binding }
        });
        routes.collect()
    }

    fn overlay(&mut self, upper: &Self) {
        let mut indices: HashMap<When, usize> = HashMap::with_capacity(self.len());
        for (index, route) in self.iter().enumerate() {
            indices.entry(route.when.clone()).or_insert(index);
        }
        for route in upper {
            match indices.entry(route.when.clone()) {
                Entry::Occupied(existing) => self[*existing.get()].binding.overlay(&route.binding),
                Entry::Vacant(vacant) => {
                    vacant.insert(self.len());
                    self.push(route.clone());
                }
            }
        }
    }
}

impl ActiveEnvironment {
    fn take(table: &mut Table<'_>, name: &'static str) -> Option<Self> {
        let value = table.value(name)?;
        if let Value::String(name) = value {
            return Some(Self::Slug(name));
        }
        let mut table = Table::new(value, table.path_of(name), table.folder, table.problems)?;
        let env = table.required("env");
        let default = Setting::take(&mut table, "default");
        table.finish();
        Some(Self::Variable(ActiveVariable { env: env?, default }))
    }
}

/// Schemas of bindings by name.
#[cfg(feature = "schema")]
mod names {
    use std::collections::BTreeMap;

    use super::{Binding, WILDCARD};

    /// Returns the schema of bindings by name. `wildcard` allows the name `"*"`.
    fn by_name(generator: &mut schemars::SchemaGenerator, wildcard: bool) -> schemars::Schema {
        let mut bindings = generator.subschema_for::<BTreeMap<String, Binding>>();
        let name =
            serde_json::json!({ "pattern": r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", "not": { "pattern": r"\.\." } });
        let names = if wildcard {
            serde_json::json!({ "anyOf": [{ "const": WILDCARD }, name] })
        } else {
            name
        };
        bindings.insert("propertyNames".to_owned(), names);
        bindings
    }

    pub(super) fn any_table(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }

    pub(super) fn exact(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        by_name(generator, false)
    }

    pub(super) fn or_wildcard(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        by_name(generator, true)
    }
}
