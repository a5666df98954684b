//! Checks the bindings of a configuration without creating tracers.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use serde::{Deserialize, Serialize};

use super::warnings::{self, CheckWarning, CheckedProject};
use crate::backend::Destination;
use crate::config::{Config, ConfigError, HAS_COPIES, ResolvedBinding};
use crate::export::{Connections, ExportError, ProbeContent, SpanFate};
use crate::registry::bindings::SourceQuery;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
use crate::secret::{ApiKey, Fingerprint};
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::util::serde_display;

/// Result of checking one binding, without creating a tracer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckedBinding {
    /// Selector of the binding. `tenants_dir` if that folder cannot be read.
    ///
    /// The tenant `*`, as in `tenant:*` and `feature:search,tenant:*`, stands for all tenants
    /// without their own table. Their key is not read, because its source may depend on the name.
    pub selector: String,
    /// Source of its API key.
    pub key_source: Option<String>,
    /// Endpoint that would receive its spans.
    pub endpoint: Option<String>,
    /// Project that would receive its spans, as sent to the backend. `None` if the key selects it,
    /// or if it is unknown.
    pub project: Option<String>,
    /// Fingerprint of its API key.
    pub fingerprint: Option<Fingerprint>,
    /// Properties of a working binding that could be safer.
    pub warnings: Vec<CheckWarning>,
    /// Error that a look-up would return.
    #[serde(serialize_with = "serde_display::serialize")]
    pub error: Option<LookupError>,
    /// Result of contacting its endpoint.
    pub connection: ConnectionCheck,
}

/// Extent of [`TracerRegistry::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckMode {
    /// Reads the keys.
    Keys,
    /// Reads the keys and sends an empty export with each one. Verifies that the endpoint accepts
    /// the key, but not that the project exists or that spans are accepted.
    Connect,
    /// Reads the keys and sends one span with each one, to the project of its binding. The span has
    /// the name `tracer_registry.check`, the attribute `tracer_registry.check`, and the attributes
    /// that every span of the tracer has. No ledger counts it.
    Send,
}

/// Result of contacting an endpoint in a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionCheck {
    /// The endpoint was not contacted.
    NotTried,
    /// The endpoint accepted an empty export: the key is valid.
    Accepted,
    /// The endpoint accepted a span.
    Delivered,
    /// The endpoint did not accept an empty export.
    Failed(ExportError),
    /// The endpoint did not accept a span.
    NotDelivered {
        /// What would happen to a program's spans after the same error.
        fate: SpanFate,
        /// The error.
        error: ExportError,
    },
}

impl CheckedBinding {
    /// Whether a look-up would fail or the endpoint did not accept the request.
    pub fn is_faulty(&self) -> bool {
        let is_refused = matches!(
            self.connection,
            ConnectionCheck::Failed(_) | ConnectionCheck::NotDelivered { .. }
        );
        self.error.is_some() || is_refused
    }
}

impl TracerRegistry {
    /// Checks every binding of the configuration and of all files in `tenants_dir`: its key, its
    /// endpoint and, depending on `mode`, whether the endpoint accepts the key or a span. Creates
    /// no tracer. Blocks the thread while it reads the keys and, if it contacts endpoints, for up
    /// to `export.timeout`.
    pub fn check(&self, mode: CheckMode) -> Vec<CheckedBinding> {
        check(&self.0, mode)
    }

    /// Like [`check`](Self::check), for one selector, whether or not the configuration names it.
    /// Changes nothing: a key that its source returns now is tried, and tracers keep theirs.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid. Other errors are in the result.
    pub fn check_selector<S>(&self, selector: S, mode: CheckMode) -> Result<CheckedBinding, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let mut binding = CheckedBinding::new(selector.to_string());
        match try_binding(&self.0, &selector, &mut binding) {
            Ok(tried) => {
                if let Some(asked) = mode.ask(&self.0, &selector, tried) {
                    binding.connection = mode.result(self.0.engine.answer(asked));
                }
            }
            Err(error) => binding.error = Some(error),
        }
        Ok(binding)
    }
}

/// A binding whose key was read.
type Tried = (Arc<Destination>, Arc<Connections>, ApiKey);
type ProbeAnswer = Receiver<Result<(), (SpanFate, ExportError)>>;

impl CheckMode {
    /// Contacts the endpoint, if the mode does.
    fn ask(self, registry: &Inner, selector: &Selector, tried: Tried) -> Option<ProbeAnswer> {
        let content = match self {
            Self::Keys => return None,
            Self::Connect => ProbeContent::Nothing,
            Self::Send => ProbeContent::Span,
        };
        let (destination, connections, key) = tried;
        Some(registry.engine.probe(selector, destination, connections, key, content))
    }

    fn result(self, answer: Option<Result<(), (SpanFate, ExportError)>>) -> ConnectionCheck {
        match (answer, self) {
            (Some(Ok(())), Self::Send) => ConnectionCheck::Delivered,
            (Some(Ok(())), _) => ConnectionCheck::Accepted,
            (Some(Err((fate, error))), Self::Send) => ConnectionCheck::NotDelivered { fate, error },
            (Some(Err((_, error))), _) => ConnectionCheck::Failed(error),
            // The engine stopped during the check.
            (None, _) => ConnectionCheck::NotTried,
        }
    }
}

/// Checks every binding. Contacts all endpoints concurrently.
fn check(registry: &Inner, mode: CheckMode) -> Vec<CheckedBinding> {
    let mut asked = Vec::new();
    let mut projects = Vec::new();
    let mut checked: Vec<CheckedBinding> = Vec::new();
    let config = registry.state.bindings.config();
    let (files, unread) = match config.tenant_files() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(("tenants_dir".to_owned(), error))),
    };
    let mut selectors = config.selectors();
    let mut unusable: Vec<(String, ConfigError)> = unread.into_iter().collect();
    for file in files {
        match file.tenant {
            Ok(name) => {
                selectors.extend(config.wildcard_route_selectors(&name));
                selectors.push(Selector::of(SelectorKind::Tenant, name));
            }
            Err(error) => unusable.push((format!("tenant:{}", file.shown), error)),
        }
    }
    for selector in selectors {
        let mut binding = CheckedBinding::new(selector.to_string());
        match try_binding(registry, &selector, &mut binding) {
            Ok(tried) => {
                let (destination, _, key) = &tried;
                projects.push(CheckedProject {
                    index: checked.len(),
                    selector: selector.clone(),
                    id: destination.project.id(key.fingerprint(&registry.fingerprinter)),
                    destination: Arc::clone(destination),
                });
                asked.extend(
                    mode.ask(registry, &selector, tried)
                        .map(|answer| (checked.len(), answer)),
                );
            }
            Err(error) => binding.error = Some(error),
        }
        checked.push(binding);
    }
    for (index, answer) in asked {
        checked[index].connection = mode.result(registry.engine.answer(answer));
    }
    for (index, warning) in warnings::shared_projects(&projects) {
        checked[index].warnings.push(warning);
    }
    checked.extend(unusable.into_iter().map(|(selector, error)| CheckedBinding {
        error: Some(error.into()),
        ..CheckedBinding::new(selector)
    }));
    let warning = shared_by_wildcard(registry, &config);
    let mut warnings = warning.into_iter();
    checked.extend(
        config
            .wildcard_keys()
            .into_iter()
            .map(|(selector, source)| CheckedBinding {
                key_source: source.as_ref().ok().map(ToString::to_string),
                error: source.err().map(Into::into),
                // The only warning is about the first entry, `tenant:*`.
                warnings: warnings.by_ref().collect(),
                ..CheckedBinding::new(selector)
            }),
    );
    checked
}

/// Returns a warning if all tenants without their own table send to one project. Compares the
/// projects of two unused tenant names.
fn shared_by_wildcard(registry: &Inner, config: &Config) -> Option<CheckWarning> {
    // Before taking any lock: after a fork, a lock that another thread held is never released.
    registry.check_not_forked().ok()?;
    let selectors = config.selectors();
    let is_free = |name: &Slug| {
        let is_named = |selector: &Selector| selector.get(SelectorKind::Tenant) == Some(name);
        !selectors.iter().any(is_named) && config.tenant_file(name).is_ok_and(|file| file.is_none())
    };
    let names = (0..100_u32).filter_map(|number| Slug::new(&format!("check-{number}")).ok());
    let mut bindings = names
        .filter(is_free)
        .map(|name| config.resolve(&Selector::of(SelectorKind::Tenant, name)).ok());
    let (one, other) = (bindings.next()??, bindings.next()??);
    let has_same_key = one.api_key == other.api_key;
    let (one, other) = (registry.destination(&one).ok()?, registry.destination(&other).ok()?);
    one.project
        .is_same(&other.project, has_same_key)
        .then(|| CheckWarning::of_project(None, 0, &one.project))
}

fn try_binding(registry: &Inner, selector: &Selector, checked: &mut CheckedBinding) -> Result<Tried, LookupError> {
    registry.check_not_forked()?;
    let binding = registry.state.bindings.resolve(selector, &SourceQuery::Ask)?.binding;
    checked.key_source = Some(binding.api_key.to_string());
    let policies = registry.policies(&binding)?;
    let destination = registry.redacted_destination(&binding, &policies)?;
    checked.endpoint = Some(destination.traces_url.clone());
    checked.project.clone_from(&destination.project.name);
    let key = registry.reader.read(&binding.api_key, destination.key_scheme)?;
    checked.fingerprint = Some(key.fingerprint(&registry.fingerprinter));
    let connections = registry.connections(&binding, &destination)?;
    if !registry.reader.has_strict_permissions() {
        checked.warnings = warnings::of(&binding);
    }
    checked.warnings.extend(lost_copies(registry, &binding));
    Ok((destination, connections, key))
}

/// Returns a warning for each target of a binding that would get no copies. What the configuration
/// alone can tell is an error of the configuration.
fn lost_copies(registry: &Inner, binding: &ResolvedBinding) -> Vec<CheckWarning> {
    let warnings = binding.also.iter().filter_map(|target| {
        let reason = match registry.state.bindings.resolve(target, &SourceQuery::Ask) {
            Ok(bound) if bound.binding.also.is_empty() => return None,
            Ok(_) => HAS_COPIES.to_owned(),
            Err(error) => error.to_string(),
        };
        Some(CheckWarning::LostCopies {
            target: target.clone(),
            reason,
        })
    });
    warnings.collect()
}

impl CheckedBinding {
    fn new(selector: String) -> Self {
        Self {
            selector,
            key_source: None,
            endpoint: None,
            project: None,
            fingerprint: None,
            warnings: Vec::new(),
            error: None,
            connection: ConnectionCheck::NotTried,
        }
    }
}
