//! The configuration as written, one layer or several laid over one another.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use schemars::JsonSchema;

use crate::config::fault::quoted;
use crate::config::settings::binding::{BackendName, Binding};
use crate::config::settings::export::Export;
use crate::config::settings::metrics::Metrics;
use crate::config::settings::pool::Pool;
use crate::config::settings::units::replace;
use crate::config::settings::untrusted::Untrusted;
use crate::selector::{SelectorBuilder, SelectorKind};

/// A configuration as written. Made from files by [`Config::load`](crate::config::Config::load), or in code.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, title = "tracer-registry configuration")]
pub(crate) struct Document {
    /// Which environment `registry.active()` gives, and which file is laid over the default one.
    #[schemars(default)]
    pub(crate) active_environment: Option<ActiveEnvironment>,
    /// Every binding starts from here.
    #[schemars(default)]
    pub(crate) defaults: Binding,
    /// By environment's name.
    #[schemars(default, schema_with = "names")]
    pub(crate) environments: BTreeMap<String, Binding>,
    /// By feature's name.
    #[schemars(default, schema_with = "names")]
    pub(crate) features: BTreeMap<String, Binding>,
    /// By tenant slug. The table `"*"` stands for every tenant without one of its own; `{tenant}` in it is the slug.
    #[schemars(default, schema_with = "names_and_wildcard")]
    pub(crate) tenants: BTreeMap<String, Binding>,
    /// A folder with a file for each tenant, called as the slug, such as `acme.toml`; in it is what a table `[tenants.acme]` would have. Read
    /// when the tenant is looked up. A tenant with a table here needs none, and its file is not read.
    #[schemars(default)]
    pub(crate) tenants_dir: Option<PathBuf>,
    /// For several parts at once; laid over the bindings of the parts.
    #[schemars(default)]
    pub(crate) routes: Vec<Route>,
    /// What files of `tenants_dir`, and bindings that a program reads from JSON, may choose.
    #[schemars(default)]
    pub(crate) untrusted: Untrusted,
    /// How spans are sent, for all tracers.
    #[schemars(default)]
    pub(crate) export: Export,
    /// When the files are read again.
    #[schemars(default)]
    pub(crate) reload: Reloading,
    /// What is asked of keys.
    #[schemars(default)]
    pub(crate) keys: Keys,
    /// How much the registry's own metrics tell apart.
    #[schemars(default)]
    pub(crate) metrics: Metrics,
    /// How many tracers are kept, and for how long.
    #[schemars(default)]
    pub(crate) pool: Pool,
    /// Where spans go that are made outside any scope, by code that knows no tenants.
    #[schemars(default)]
    pub(crate) routing: Routing,
}

/// `[routing]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Routing {
    /// The tracer of spans that are made outside any scope. Default: none, they are not recorded, and counted.
    pub(crate) default: Option<When>,
}

/// `[reload]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Reloading {
    /// Whether the files are watched, and read again when they change. Default: false.
    pub(crate) watch: Option<bool>,
}

/// `[keys]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Keys {
    /// Whether a file with a key is refused if every user of the machine may read or write it (mode `o+r` or `o+w`). Unix only. Default: false,
    /// `tracer-registry check` warns.
    pub(crate) strict_permissions: Option<bool>,
}

/// The key of the table for every tenant without one of its own.
pub(crate) const WILDCARD: &str = "*";

/// Which environment is the active one.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum ActiveEnvironment {
    /// This one.
    Slug(String),
    /// The one that a variable of the process names.
    Variable(ActiveVariable),
}

/// A variable that names the active environment.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ActiveVariable {
    /// The variable's name.
    pub(crate) env: String,
    /// The environment where the variable is not set or empty.
    pub(crate) default: Option<String>,
}

/// A binding for selectors that have all of `when`'s parts.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Route {
    /// The parts that a selector must have.
    pub(crate) when: When,
    /// What holds for it.
    #[schemars(flatten)]
    pub(crate) binding: Binding,
}

/// The parts of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct When {
    /// A tenant slug. In a route `"*"` is every tenant, and another part is named too.
    pub(crate) tenant: Option<String>,
    /// An environment's name.
    pub(crate) environment: Option<String>,
    /// A feature's name.
    pub(crate) feature: Option<String>,
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
    /// Every binding, with its key path.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (String, &Binding)> {
        let tables = [
            ("environments", &self.environments),
            ("features", &self.features),
            ("tenants", &self.tenants),
        ];
        let named = tables.into_iter().flat_map(|(table, bindings)| {
            let paths = bindings.keys().map(move |name| format!("{table}.{}", quoted(name)));
            paths.zip(bindings.values())
        });
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| (format!("routes[{index}]"), &route.binding));
        [("defaults".to_owned(), &self.defaults)]
            .into_iter()
            .chain(named)
            .chain(routes)
    }

    /// Lays `over` on top of this one, table by table. A route for the same parts is laid over the earlier one.
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.active_environment, over.active_environment.as_ref());
        if over.defaults.backend == Some(BackendName::default()) {
            // Said or not, the lower layer's defaults are written for this backend: saying so above changes nothing.
            self.defaults.backend.get_or_insert_default();
        }
        self.defaults.overlay(&over.defaults);
        for (mine, theirs) in [
            (&mut self.environments, &over.environments),
            (&mut self.features, &over.features),
            (&mut self.tenants, &over.tenants),
        ] {
            for (name, binding) in theirs {
                mine.entry(name.clone()).or_default().overlay(binding);
            }
        }
        if !over.routes.is_empty() {
            self.overlay_routes(&over.routes);
        }
        replace(&mut self.tenants_dir, over.tenants_dir.as_ref());
        replace(&mut self.reload.watch, over.reload.watch.as_ref());
        replace(&mut self.keys.strict_permissions, over.keys.strict_permissions.as_ref());
        self.untrusted.overlay(&over.untrusted);
        self.export.overlay(&over.export);
        self.metrics.overlay(&over.metrics);
        self.pool.overlay(&over.pool);
        // As one: half of one layer's selector and half of another's would be a third one.
        replace(&mut self.routing.default, over.routing.default.as_ref());
    }

    fn overlay_routes(&mut self, over: &[Route]) {
        let mut places: HashMap<When, usize> = HashMap::with_capacity(self.routes.len());
        for (place, route) in self.routes.iter().enumerate() {
            places.entry(route.when.clone()).or_insert(place);
        }
        for route in over {
            match places.entry(route.when.clone()) {
                Entry::Occupied(mine) => self.routes[*mine.get()].binding.overlay(&route.binding),
                Entry::Vacant(free) => {
                    free.insert(self.routes.len());
                    self.routes.push(route.clone());
                }
            }
        }
    }
}

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

fn names(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    by_name(generator, false)
}

fn names_and_wildcard(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    by_name(generator, true)
}
