//! The checked configuration, and what it says for one selector.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::binding::{Auth, BackendName, Binding, Limits, SessionMode};
use super::document::{ActiveEnvironment, Document, WILDCARD};
use super::endpoint::Endpoint;
use super::export::ExportSettings;
use super::fault::{ConfigError, Faults, Layer};
use super::layers::ActiveName;
use super::metrics::MetricsSettings;
use super::proxy::{OfVariables, ResolvedProxy};
use super::template::{self, TemplateError};
use super::tls::Tls;
use super::variables::Variables;
use super::{check, layers, proxy};
use crate::secret::KeySource;
use crate::selector::{Name, Part, Selector};

/// How alike a known name must be to be suggested, and how many are.
const SIMILAR: f64 = 0.75;
const MAX_SUGGESTIONS: usize = 3;

/// A configuration that was checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    document: Document,
    routes: Vec<(Selector, Binding)>,
    active_environment: Option<Name>,
    export: ExportSettings,
    metrics: MetricsSettings,
    proxies: OfVariables,
}

/// What the configuration says for one selector, everything filled in. `Debug` shows no value that could be a key by mistake.
#[derive(Clone, PartialEq)]
pub struct ResolvedBinding {
    /// What it is for.
    pub selector: Selector,
    /// Where the key comes from.
    pub api_key: KeySource,
    /// The kind of destination.
    pub backend: BackendName,
    /// The destination, where the backend's own is not meant.
    pub endpoint: Option<Endpoint>,
    /// How the key is sent, where not in the backend's way.
    pub auth: Option<Auth>,
    /// Certificates for an `https` endpoint.
    pub tls: Tls,
    /// What requests go through.
    pub proxy: Option<ResolvedProxy>,
    /// Further headers of every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The `source` of sessions and spans.
    pub source: Option<String>,
    /// Metadata of sessions and spans.
    pub metadata: BTreeMap<String, Value>,
    /// Resource attributes.
    pub resource: BTreeMap<String, Value>,
    /// The part of all traces that is recorded.
    pub sampling_ratio: f64,
    /// How much one span may hold.
    pub limits: Limits,
    /// Whether a remote span may be a parent.
    pub trust_remote_parent: bool,
    /// Whether the session's id goes along with requests, and is taken from there.
    pub propagate_session_id: bool,
    /// How sessions come about.
    pub sessions: SessionMode,
    /// How large a share of the sending it gets.
    pub weight: u32,
}

/// As control groups have it.
const DEFAULT_WEIGHT: u32 = 100;

/// Why the configuration has nothing for a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The configuration has no such name.
    #[error("{part} {name:?} is not configured{}", suggestions(.similar))]
    Unknown {
        /// The part that is unknown.
        part: Part,
        /// Its name.
        name: Name,
        /// Configured names that are like it.
        similar: Vec<String>,
    },
    /// Nothing that applies to the selector says where the key comes from.
    #[error("no api_key is configured for it, and no other key is ever taken instead")]
    NoKey,
    /// A `{tenant}` or its like cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A header that the selector's names made invalid.
    #[error("the value of the header {0} has characters that a header cannot carry")]
    Header(HeaderName),
}

fn suggestions(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", similar.join(", "))
    }
}

impl Config {
    /// Reads a configuration from a file, or from a folder with a file called `default`.
    ///
    /// A folder, or a file called `default.toml` (`.yaml`, `.yml`, `.json`), is layered: `default`, then the file called as the active
    /// environment, then `local`, then the variables `TRACER_REGISTRY__SECTION__KEY`. A file of any other name stands alone, below the
    /// variables. An environment called `default` or `local` has no file of its own. Reads no key.
    ///
    /// Variables are folded to lower case, so they reach only names in lower case; a variable that is set to nothing says nothing. A list,
    /// and metadata that is a number or a boolean, are written as JSON: `TRACER_REGISTRY__TENANTS__ACME__API_KEY__EXEC=["pass", "acme"]`.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every layer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_with(path.as_ref(), &Variables::of_the_process())
    }

    /// As [`load`](Self::load), as if the process had no variables: what the files say, whoever reads them.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every layer.
    pub fn load_files(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_with(path.as_ref(), &Variables::none())
    }

    pub(super) fn load_with(path: &Path, variables: &Variables) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let document = layers::load(path, variables, &mut faults);
        Self::finish(document, variables, faults)
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
        faults.into_result()?;
        let checked = "the layers were checked";
        Ok(Self {
            active_environment,
            proxies,
            routes: document
                .routes
                .iter()
                .map(|route| (check::selector(route).expect(checked), route.binding.clone()))
                .collect(),
            export: document.export.settings(),
            metrics: document.metrics.settings(),
            document,
        })
    }

    /// The environment that is active, where one is configured.
    pub fn active_environment(&self) -> Option<&Name> {
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

    /// Every selector that the configuration names, the wildcard left out.
    pub fn selectors(&self) -> Vec<Selector> {
        let single = Part::ALL.into_iter().flat_map(|part| {
            let names = self.bindings(part).keys().filter_map(|name| Name::new(name).ok());
            names.map(move |name| Selector::of(part, name))
        });
        single
            .chain(self.routes.iter().map(|(selector, _)| selector.clone()))
            .collect()
    }

    /// Whether tenants without a table of their own have a binding.
    pub fn has_wildcard(&self) -> bool {
        self.document.tenants.contains_key(WILDCARD)
    }

    /// Where the keys of tenants without a table of their own come from, placeholders as written; `None` where there is no wildcard.
    pub(crate) fn wildcard_key(&self) -> Option<Result<KeySource, ResolveError>> {
        let mut merged = self.defaults();
        merged.overlay(self.document.tenants.get(WILDCARD)?);
        Some(merged.api_key.ok_or(ResolveError::NoKey))
    }

    /// Whether a name is configured; a cheap question that allocates nothing.
    pub(crate) fn knows(&self, part: Part, name: &str) -> bool {
        self.bindings(part).contains_key(name) || (part == Part::Tenant && self.has_wildcard())
    }

    /// What the configuration says for a selector: defaults < environment < feature < tenant < route. Routes with fewer parts come
    /// before those with more; the key is the last one set.
    ///
    /// # Errors
    /// [`ResolveError`] for a name that is not configured, a selector without a key, or a template that cannot be filled in.
    pub fn resolve(&self, selector: &Selector) -> Result<ResolvedBinding, ResolveError> {
        let mut merged = self.defaults();
        let mut routes: Vec<_> = self.routes.iter().filter(|(when, _)| selector.contains(when)).collect();
        // Stable: among routes with equally many parts the one written last wins.
        routes.sort_by_key(|(when, _)| when.parts().count());
        for (part, name) in selector.parts() {
            let by_a_route = || routes.iter().any(|(when, _)| when.get(part) == Some(name));
            match self.binding_of(part, name) {
                Some(binding) => merged.overlay(binding),
                // A name may be known by a route alone.
                None if by_a_route() => {}
                None => return Err(self.unknown(part, name)),
            }
        }
        for (_, binding) in routes {
            merged.overlay(binding);
        }
        fill(merged, selector, &self.proxies)
    }

    /// The error for a name that is not configured, with names that are like it.
    pub(crate) fn unknown(&self, part: Part, name: &Name) -> ResolveError {
        let known = self.bindings(part).keys().filter(|known| *known != WILDCARD);
        let mut scored: Vec<(f64, &String)> = known
            .map(|known| (strsim::jaro_winkler(known, name), known))
            .filter(|(score, _)| *score >= SIMILAR)
            .collect();
        scored.sort_by(|one, other| other.0.total_cmp(&one.0));
        ResolveError::Unknown {
            part,
            name: name.clone(),
            similar: scored
                .into_iter()
                .take(MAX_SUGGESTIONS)
                .map(|(_, known)| known.clone())
                .collect(),
        }
    }

    /// What every binding starts from.
    fn defaults(&self) -> Binding {
        let mut defaults = self.document.defaults.clone();
        // Said or not, this is the backend that the defaults are written for.
        defaults.backend.get_or_insert_default();
        defaults
    }

    fn bindings(&self, part: Part) -> &BTreeMap<String, Binding> {
        match part {
            Part::Environment => &self.document.environments,
            Part::Feature => &self.document.features,
            Part::Tenant => &self.document.tenants,
        }
    }

    fn binding_of(&self, part: Part, name: &str) -> Option<&Binding> {
        let bindings = self.bindings(part);
        let wildcard = || {
            if part == Part::Tenant {
                bindings.get(WILDCARD)
            } else {
                None
            }
        };
        bindings.get(name).or_else(wildcard)
    }
}

/// The name of the active environment, if one is chosen; a fault for one that is not configured.
fn active_environment(document: &Document, variables: &Variables, faults: &mut Faults) -> Option<Name> {
    let choice = document.active_environment.as_ref()?;
    let ActiveName(name) = layers::active_name(choice, variables)?;
    let known = document.environments.keys().map(String::as_str);
    if let Ok(name) = &name
        && document.environments.contains_key(name)
    {
        // A name that is not allowed is a fault of the table that has it.
        return Name::new(name).ok();
    }
    // Where a file could not be read, the environment may well be in it.
    if !faults.some_file_is_unread() {
        // A variable's value is not repeated: whoever named the wrong variable may have named one with a key in it.
        let said = match (choice, &name) {
            (ActiveEnvironment::Name(name), _) => format!("\"{}\"", name.escape_default()),
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

fn fill(merged: Binding, selector: &Selector, proxies: &OfVariables) -> Result<ResolvedBinding, ResolveError> {
    let source = merged.api_key.as_ref().ok_or(ResolveError::NoKey)?;
    let mut headers = Vec::with_capacity(merged.headers.len());
    for (name, value) in &merged.headers {
        let name = HeaderName::try_from(name).expect("the layers were checked");
        let value = HeaderValue::from_str(&template::fill(value, selector)?);
        let value = value.map_err(|_| ResolveError::Header(name.clone()))?;
        headers.push((name, value));
    }
    let fill_values = |values: BTreeMap<String, Value>| -> Result<BTreeMap<String, Value>, TemplateError> {
        let filled = values.into_iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key, Value::String(template::fill(&text, selector)?))),
            other => Ok((key, other)),
        });
        filled.collect()
    };
    let propagation = merged.propagation.unwrap_or_default();
    Ok(ResolvedBinding {
        api_key: template::fill_source(source, selector)?,
        backend: merged.backend.unwrap_or_default(),
        endpoint: merged
            .endpoint
            .map(|text| Endpoint::new(&text).expect("the layers were checked")),
        auth: merged.auth,
        tls: merged.tls.unwrap_or_default().fill(selector)?,
        proxy: match &merged.proxy {
            Some(proxy) => proxy.resolve(proxies, selector)?,
            None => None,
        },
        headers,
        source: merged
            .source
            .map(|source| template::fill(&source, selector))
            .transpose()?,
        metadata: fill_values(merged.metadata)?,
        resource: fill_values(merged.resource)?,
        sampling_ratio: merged.sampling.map_or(1.0, |sampling| sampling.ratio),
        limits: merged.limits.unwrap_or_default(),
        trust_remote_parent: propagation.trust_remote_parent.unwrap_or(false),
        propagate_session_id: propagation.session_id.unwrap_or(false),
        sessions: merged.sessions.unwrap_or_default(),
        weight: merged.weight.unwrap_or(DEFAULT_WEIGHT),
        selector: selector.clone(),
    })
}

impl fmt::Debug for ResolvedBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ResolvedBinding")
            .field("selector", &self.selector)
            .field("api_key", &self.api_key)
            .field("backend", &self.backend)
            .field("endpoint", &self.endpoint)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .field("headers", &headers)
            .field("source", &self.source)
            .field("metadata", &self.metadata.keys())
            .field("resource", &self.resource.keys())
            .field("sampling_ratio", &self.sampling_ratio)
            .field("limits", &self.limits)
            .field("trust_remote_parent", &self.trust_remote_parent)
            .field("propagate_session_id", &self.propagate_session_id)
            .field("sessions", &self.sessions)
            .field("weight", &self.weight)
            .finish()
    }
}
