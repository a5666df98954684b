//! How tracers are doing, and what the bindings of a configuration come to.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::warnings::{self, CheckWarning, CheckedProject};
use crate::backend::Destination;
use crate::config::{Config, ConfigError};
use crate::context::{PropagationStatus, StaleScopeStatus};
use crate::export::{
    Breakers, Connections, DestinationStatus, ErrorsStatus, EvictedLedgers, ExportError, KeyStatus, RefusedSpan,
    RequestStatus, SelectorLedger, Sends, SpanFate,
};
use crate::ledger::LedgerSnapshot;
use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::Inner;
use crate::registry::reload::ConfigurationStatus;
use crate::registry::weak::UnroutedStatus;
use crate::secret::{ApiKey, Fingerprint};
use crate::selector::{Selector, SelectorKind, Slug};
use crate::util::{serde_display, wall_time};

/// All tracers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// How the configuration came to be what it is.
    pub configuration: ConfigurationStatus,
    /// By selector, in their order.
    pub tracers: Vec<TracerStatus>,
    /// The tracers that are kept.
    pub pool: PoolStatus,
    /// The books of names that are no longer remembered.
    pub evicted_totals: EvictedTotals,
    /// What code that knows no tenants made in no tracer's scope, and what was not recorded.
    pub unrouted: UnroutedStatus,
    /// Spans of work that goes on long after the request that it was begun in.
    pub stale_scope_spans: StaleScopeStatus,
    /// What was left out of what goes along with requests and links.
    pub propagation: PropagationStatus,
}

/// The tracers that are kept, and what became of others. Counted since the registry was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Tracers that are there, those that are being made among them, dedicated ones not.
    pub tracers: usize,
    /// How many there may be.
    pub max_tracers: usize,
    /// Tracers that ended because they were idle: for too long, or where room was needed.
    pub evicted: u64,
    /// Look-ups that got no tracer because there was no room.
    pub rejected: u64,
    /// Tracers that were made above `max_tracers`, because `pool.when_full` is `grow`.
    pub grown: u64,
}

/// The books of names without a tracer that are no longer remembered by name, because too many others came after them. All of it is
/// settled. With the books of the names that are remembered this is everything that was ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvictedTotals {
    /// How often a name was forgotten; one that came back and was forgotten again counts twice.
    pub names: u64,
    /// What became of their spans.
    pub spans: LedgerSnapshot,
    /// What became of the starts and enrichments of their sessions.
    pub session_events: LedgerSnapshot,
}

/// The books of one selector at one moment: its tracer, dedicated ones, and those that are gone, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TracerStatus {
    /// Whose.
    pub selector: Selector,
    /// Tracers that are there, dedicated ones with it.
    pub tracers: usize,
    /// Where its spans go; of the newest tracer, if it has several. `None` if it has none.
    pub destination: Option<DestinationStatus>,
    /// What became of its spans.
    pub spans: LedgerSnapshot,
    /// What its spans and session events take that are queued and under way, in bytes, estimated.
    pub queued_bytes: usize,
    /// When the span ended that waits in the queue for the longest.
    #[serde(with = "wall_time::optional")]
    pub oldest_queued: Option<SystemTime>,
    /// What became of the starts and enrichments of its sessions.
    pub session_events: LedgerSnapshot,
    /// The request that is under way for the longest. `None` if none is.
    pub oldest_request: Option<RequestStatus>,
    /// The last thing that went wrong. Stays until something else does; [`errors`](Self::errors) says whether it is over. If both spans and
    /// session events had an error, one that goes on comes before one that is over.
    pub last_error: Option<ExportError>,
    /// The row of failures that `last_error` is the last of: when, how often, whether it is over. `None` if there was none.
    pub errors: Option<ErrorsStatus>,
    /// The last span that the receiver refused by itself. `None` if there was none.
    pub last_refused_span: Option<RefusedSpan>,
    /// When the receiver last took something.
    #[serde(with = "wall_time::optional")]
    pub last_delivery: Option<SystemTime>,
    /// Whether its requests are let through; of the newest tracer, where it has several.
    pub breakers: Breakers,
    /// Its key; of the newest tracer, where it has several. None where it has none.
    pub key: Option<KeyStatus>,
}

/// What a binding comes to, without making a tracer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedBinding {
    /// What it is for; `tenant:*`, alone and as a part, for tenants without a table of their own, whose key cannot be tried without a name.
    pub selector: String,
    /// Where its key comes from.
    pub key_source: Option<String>,
    /// Where its spans would go.
    pub endpoint: Option<String>,
    /// The project that its spans would land in, as the backend is told it. `None` if the key alone chooses it, or it is not known.
    pub project: Option<String>,
    /// What may be shown of its key.
    pub fingerprint: Option<Fingerprint>,
    /// What could be safer about it, if a look-up succeeds.
    pub warnings: Vec<CheckWarning>,
    /// Why a look-up of it would fail.
    #[serde(serialize_with = "serde_display::serialize")]
    pub error: Option<LookupError>,
    /// What its endpoint said, if it was asked.
    pub connection: ConnectionCheck,
}

/// How far [`TracerRegistry::check`](crate::TracerRegistry::check) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckMode {
    /// Reads the keys.
    Keys,
    /// Also sends an empty export with each key. That proves the credential, and neither that the project is there nor that spans are taken.
    Connect,
    /// Also sends one span with each key, to the project of its binding. It is called `tracer_registry.check`, has the attribute
    /// `tracer_registry.check`, and all that every span of the tracer has. No ledger counts it.
    Send,
}

/// What an endpoint said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionCheck {
    /// It was not asked.
    NotTried,
    /// It took an empty export: the key is good.
    Accepted,
    /// It took a span.
    Delivered,
    /// It did not take an empty export.
    Failed(ExportError),
    /// It did not take a span.
    NotDelivered {
        /// What becomes of spans that are answered so.
        fate: SpanFate,
        /// What it said.
        error: ExportError,
    },
}

impl CheckedBinding {
    /// Whether a look-up would fail, or the endpoint did not take what was sent.
    pub fn is_faulty(&self) -> bool {
        let is_refused = matches!(
            self.connection,
            ConnectionCheck::Failed(_) | ConnectionCheck::NotDelivered { .. }
        );
        self.error.is_some() || is_refused
    }
}

impl Status {
    /// The books of one selector, where it is remembered: it has a tracer, or was among the last that had one.
    pub fn tracer(&self, selector: &Selector) -> Option<&TracerStatus> {
        self.tracers.iter().find(|tracer| tracer.selector == *selector)
    }
}

pub(crate) fn of(
    configuration: ConfigurationStatus,
    accounts: &[Arc<SelectorLedger>],
    evicted: &EvictedLedgers,
    pool: PoolStatus,
) -> Status {
    let tracers = accounts.iter().map(|account| {
        let books = account.snapshot();
        let (last_error, errors) = books.failures.map(|failures| (failures.error, failures.status)).unzip();
        TracerStatus {
            selector: account.selector.clone(),
            tracers: books.lanes,
            destination: books.destination,
            spans: books.spans.snapshot(),
            queued_bytes: books.held_bytes,
            oldest_queued: books.oldest.map(wall_time::shown),
            session_events: books.events.snapshot(),
            oldest_request: books.oldest_request,
            last_error,
            errors,
            last_refused_span: books.refused_span,
            last_delivery: books.last_delivery.map(wall_time::shown),
            breakers: books.breakers,
            key: books.key,
        }
    });
    Status {
        configuration,
        tracers: tracers.collect(),
        pool,
        evicted_totals: EvictedTotals {
            names: evicted.names,
            spans: evicted.spans.snapshot(),
            session_events: evicted.events.snapshot(),
        },
        unrouted: UnroutedStatus::default(),
        stale_scope_spans: StaleScopeStatus::default(),
        propagation: PropagationStatus::default(),
    }
}

/// Tries every binding; the endpoints are asked all at once.
pub(crate) fn check(registry: &Inner, probe: CheckMode) -> Vec<CheckedBinding> {
    let mut asked = Vec::new();
    let mut projects = Vec::new();
    let mut checked: Vec<CheckedBinding> = Vec::new();
    let config = registry.live.bindings.config();
    let (files, unread) = match config.tenant_files() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(("tenants_dir".to_owned(), error))),
    };
    let mut selectors = config.selectors();
    let mut unusable: Vec<(String, ConfigError)> = unread.into_iter().collect();
    for file in files {
        match file.tenant {
            Ok(name) => {
                selectors.extend(config.selectors_of_any_tenant(&name));
                selectors.push(Selector::of(SelectorKind::Tenant, name));
            }
            Err(error) => unusable.push((format!("tenant:{}", file.shown), error)),
        }
    }
    for selector in selectors {
        let mut binding = CheckedBinding::new(selector.to_string());
        match try_binding(registry, &selector, &mut binding) {
            Ok((destination, connections, key)) => {
                projects.push(CheckedProject {
                    index: checked.len(),
                    selector: selector.clone(),
                    id: destination.project.id(key.fingerprint(&registry.fingerprinter)),
                    destination: Arc::clone(&destination),
                });
                let sends = match probe {
                    CheckMode::Keys => None,
                    CheckMode::Connect => Some(Sends::Nothing),
                    CheckMode::Send => Some(Sends::Span),
                };
                asked.extend(sends.map(|sends| {
                    let answer = registry.engine.probe(&selector, destination, connections, key, sends);
                    (checked.len(), answer)
                }));
            }
            Err(error) => binding.error = Some(error),
        }
        checked.push(binding);
    }
    for (index, answer) in asked {
        let answer = registry.engine.answer(answer);
        checked[index].connection = match (answer, probe) {
            (Some(Ok(())), CheckMode::Send) => ConnectionCheck::Delivered,
            (Some(Ok(())), _) => ConnectionCheck::Accepted,
            (Some(Err((fate, error))), CheckMode::Send) => ConnectionCheck::NotDelivered { fate, error },
            (Some(Err((_, error))), _) => ConnectionCheck::Failed(error),
            // The engine was stopped meanwhile.
            (None, _) => ConnectionCheck::NotTried,
        };
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
                // About the first, which is for tenants alone.
                warnings: warnings.by_ref().collect(),
                ..CheckedBinding::new(selector)
            }),
    );
    checked
}

/// A warning if tenants without a table of their own send to one project: two that there are not are looked at.
fn shared_by_wildcard(registry: &Inner, config: &Config) -> Option<CheckWarning> {
    // Before all that locks: after a fork, a lock that another thread held is never released.
    registry.check_home().ok()?;
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

fn try_binding(
    registry: &Inner,
    selector: &Selector,
    checked: &mut CheckedBinding,
) -> Result<(Arc<Destination>, Arc<Connections>, ApiKey), LookupError> {
    registry.check_home()?;
    let binding = registry.live.bindings.resolve(selector, &Asking::Source)?.binding;
    checked.key_source = Some(binding.api_key.to_string());
    let destination = registry.destination(&binding)?;
    checked.endpoint = Some(destination.traces_url.clone());
    checked.project.clone_from(&destination.project.name);
    let key = registry.reader.read(&binding.api_key, destination.key_scheme)?;
    checked.fingerprint = Some(key.fingerprint(&registry.fingerprinter));
    let connections = registry.connections(&binding, &destination)?;
    if !registry.reader.has_strict_permissions() {
        checked.warnings = warnings::of(&binding);
    }
    Ok((destination, connections, key))
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
