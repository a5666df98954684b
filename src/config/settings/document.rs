//! The configuration as written, one layer or several laid over one another.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::fault::quoted;
use crate::config::read::table::Table;
use crate::config::rules::values::needs_feature;
use crate::config::settings::binding::{BackendName, Binding};
use crate::config::settings::declare::{settings, table};
use crate::config::settings::export::Export;
use crate::config::settings::metrics::Metrics;
use crate::config::settings::pool::Pool;
use crate::config::settings::setting::{Field, Fields, Setting, path, replaced};
use crate::config::settings::untrusted::Untrusted;
use crate::selector::{SelectorBuilder, SelectorKind};

table! {
    /// A configuration as written. Made from files by [`Config::load`](crate::config::Config::load), or in code.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[schema(title = "tracer-registry configuration")]
    #[overlay(Document::overlay)]
    pub(crate) struct Document {
        /// Which environment `registry.active()` gives, and which file is laid over the default one.
        pub(crate) active_environment: Option<ActiveEnvironment>,
        /// Every binding starts from here.
        pub(crate) defaults: Binding,
        /// By environment's name.
        #[schema(schema_with = "names::exact")]
        pub(crate) environments: BTreeMap<String, Binding>,
        /// By feature's name.
        #[schema(schema_with = "names::exact")]
        pub(crate) features: BTreeMap<String, Binding>,
        /// By tenant slug. The table `"*"` stands for every tenant without one of its own; `{tenant}` in it is the slug.
        #[schema(schema_with = "names::or_wildcard")]
        pub(crate) tenants: BTreeMap<String, Binding>,
        /// A folder with a file for each tenant, called as the slug, such as `acme.toml`; in it is what a table `[tenants.acme]` would have. Read
        /// when the tenant is looked up. A tenant with a table here needs none, and its file is not read.
        #[take(folder)]
        #[rule(not_empty)]
        pub(crate) tenants_dir: Option<PathBuf>,
        /// For several parts at once; laid over the bindings of the parts.
        pub(crate) routes: Vec<Route>,
        /// What files of `tenants_dir`, and bindings that a program reads from JSON, may choose.
        pub(crate) untrusted: Untrusted,
        /// How spans are sent, for all tracers.
        pub(crate) export: Export,
        /// When the files are read again.
        pub(crate) reload: Reloading,
        /// What is asked of keys.
        pub(crate) keys: Keys,
        /// How much the registry's own metrics tell apart.
        pub(crate) metrics: Metrics,
        /// How many tracers are kept, and for how long.
        pub(crate) pool: Pool,
        /// Where spans go that are made outside any scope, by code that knows no tenants.
        pub(crate) routing: Routing,
    }
}

table! {
    /// `[routing]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub(crate) struct Routing {
        /// The tracer of spans that are made outside any scope. Default: none, they are not recorded, and counted.
        pub(crate) default: Option<When>,
    }
}

settings! {
    /// `[reload]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("reload")]
    pub(crate) struct Reloading {
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
        /// Whether a file with a key is refused if every user of the machine may read or write it (mode `o+r` or `o+w`). Unix only. Default: false,
        /// `tracer-registry check` warns.
        #[default(false, has_modes)]
        pub(crate) strict_permissions: Option<bool>,
    }

    /// `[keys]` with every default filled in.
    pub(crate) struct KeySettings;
}

replaced! {
    ActiveEnvironment: ActiveEnvironment::take;
}

fn folder(table: &mut Table<'_>, name: &'static str) -> Option<PathBuf> {
    path(table, name, "the path of a folder")
}

fn not_empty(folder: &Path) -> Option<String> {
    folder
        .as_os_str()
        .is_empty()
        .then(|| "the path of a folder is expected".to_owned())
}

fn can_watch(watch: bool) -> Option<String> {
    (watch && cfg!(not(feature = "watch"))).then(|| needs_feature("watching files", "watch"))
}

fn has_modes(strict: bool) -> Option<String> {
    (strict && cfg!(not(unix))).then(|| "files have no mode on this system that could be checked".to_owned())
}

/// The key of the table for every tenant without one of its own.
pub(crate) const WILDCARD: &str = "*";

/// Which environment is the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum ActiveEnvironment {
    /// This one.
    Slug(String),
    /// The one that a variable of the process names.
    Variable(ActiveVariable),
}

/// A variable that names the active environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct ActiveVariable {
    /// The variable's name.
    pub(crate) env: String,
    /// The environment if the variable is not set or empty.
    pub(crate) default: Option<String>,
}

/// A binding for selectors that have all of `when`'s parts.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct Route {
    /// The parts that a selector must have.
    pub(crate) when: When,
    /// What holds for it.
    #[cfg_attr(feature = "schema", schemars(flatten))]
    pub(crate) binding: Binding,
}

table! {
    /// The parts of a selector, laid over others as one: half of one layer's selector and half of another's would be a third one.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    #[overlay(When::clone_from)]
    pub(crate) struct When {
        /// A tenant slug. In a route `"*"` is every tenant, and another part is named too.
        pub(crate) tenant: Option<String>,
        /// An environment's name.
        pub(crate) environment: Option<String>,
        /// A feature's name.
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
    /// The tables of bindings by name, each with what it is called.
    pub(crate) fn tables(&self) -> [(SelectorKind, &'static str, &BTreeMap<String, Binding>); 3] {
        [
            (SelectorKind::Environment, "environments", &self.environments),
            (SelectorKind::Feature, "features", &self.features),
            (SelectorKind::Tenant, "tenants", &self.tenants),
        ]
    }

    /// Every binding, with its key path.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (String, &Binding)> {
        let named = self.tables().into_iter().flat_map(|(_, table, bindings)| {
            let path = move |name| format!("{table}.{}", quoted(name));
            bindings.iter().map(move |(name, binding)| (path(name), binding))
        });
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| (format!("routes[{index}]"), &route.binding));
        let defaults = ("defaults".to_owned(), &self.defaults);
        std::iter::once(defaults).chain(named).chain(routes)
    }

    /// Lays `over` on top of this one, table by table. A route for the same parts is laid over the earlier one.
    pub(crate) fn overlay(&mut self, over: &Self) {
        if over.defaults.backend == Some(BackendName::default()) {
            // Said or not, the lower layer's defaults are written for this backend: saying so above changes nothing.
            self.defaults.backend.get_or_insert_default();
        }
        self.overlay_fields(over);
    }
}

impl Field for Vec<Route> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        let items = table.items(name).into_iter();
        let routes = items.map(|(value, path)| {
            // Keeps the place of one that is no table, so that the others keep their numbers.
            let Some(mut table) = Table::new(value, path, table.folder, table.faults) else {
                return Route::default();
            };
            // A route without parts is a fault of the next stage.
            let when = table.table("when", When::take_fields).unwrap_or_default();
            let binding = Binding::take_fields(&mut table);
            table.finish();
            Route { when, binding }
        });
        routes.collect()
    }

    fn overlay(&mut self, upper: &Self) {
        let mut places: HashMap<When, usize> = HashMap::with_capacity(self.len());
        for (place, route) in self.iter().enumerate() {
            places.entry(route.when.clone()).or_insert(place);
        }
        for route in upper {
            match places.entry(route.when.clone()) {
                Entry::Occupied(mine) => self[*mine.get()].binding.overlay(&route.binding),
                Entry::Vacant(free) => {
                    free.insert(self.len());
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
        let mut table = Table::new(value, table.path_of(name), table.folder, table.faults)?;
        let env = table.required("env");
        let default = Setting::take(&mut table, "default");
        table.finish();
        Some(Self::Variable(ActiveVariable { env: env?, default }))
    }
}

/// Bindings by name, for the schema.
#[cfg(feature = "schema")]
mod names {
    use std::collections::BTreeMap;

    use super::{Binding, WILDCARD};

    /// Bindings by name, with the rules of names. The wildcard is allowed where it has a meaning.
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

    pub(super) fn exact(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        by_name(generator, false)
    }

    pub(super) fn or_wildcard(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        by_name(generator, true)
    }
}
