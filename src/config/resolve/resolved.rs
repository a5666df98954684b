//! A binding resolved for one selector.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::config::resolve::error::ResolveError;
use crate::config::resolve::merge::MergedLayers;
use crate::config::resolve::proxy::{ProxyUrls, ResolvedProxy};
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::{Auth, BackendName, Limits, Sampling, SessionMode};
use crate::config::settings::quota::Quota;
use crate::config::settings::redact::{Redact, RedactAction, RedactRule};
use crate::config::settings::redacted::Redacted;
use crate::config::settings::tls::Tls;
use crate::config::untrusted::Addresses;
use crate::secret::KeySource;
use crate::selector::Selector;

/// The default weight of Linux control groups.
const DEFAULT_WEIGHT: u32 = 100;

/// Settings for one selector, with all placeholders filled in. `Debug` shows no value that could be
/// a misplaced key.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct ResolvedBinding {
    /// The selector.
    pub selector: Selector,
    /// Source of the API key.
    pub api_key: KeySource,
    /// Backend to send to.
    pub backend: BackendName,
    /// Endpoint. `None` means the backend's default.
    pub endpoint: Option<Endpoint>,
    /// Non-public addresses that the endpoint may have. Set only if an untrusted layer set the
    /// endpoint.
    pub untrusted: Option<Arc<Addresses>>,
    /// Project, for backends whose key does not select it.
    pub project: Option<String>,
    /// Header and scheme of the key, if they differ from the backend's.
    pub auth: Option<Auth>,
    /// Certificates for an `https` endpoint.
    pub tls: Tls,
    /// Proxy that requests go through.
    pub proxy: Option<ResolvedProxy>,
    /// Additional headers of every request.
    pub headers: Redacted<Vec<(HeaderName, HeaderValue)>>,
    /// The `source` of sessions and spans.
    pub source: Option<String>,
    /// Metadata of sessions and spans.
    pub metadata: Redacted<BTreeMap<String, Value>>,
    /// Resource attributes.
    pub resource: Redacted<BTreeMap<String, Value>>,
    /// Fraction of traces to record.
    pub sampling: Sampling,
    /// Limits of a span.
    pub limits: Limits,
    /// Whether a remote span may be a parent.
    pub trust_remote_parent: bool,
    /// Whether the session's id is sent with requests and accepted from them.
    pub propagate_session_id: bool,
    /// How sessions are created.
    pub sessions: SessionMode,
    /// Weight in the fair share of sending.
    pub weight: u32,
    /// What is removed from data.
    pub redact: ResolvedRedact,
    /// How much the tenant may send.
    pub quota: Quota,
    /// Selectors that get a copy of every span.
    pub also: Vec<Selector>,
}

/// What is removed from the data of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResolvedRedact {
    /// Source of the key of hashes.
    pub key: Option<KeySource>,
    /// Whether patterns also apply to the names of spans and events.
    pub names: bool,
    /// The rules of all tables with their names, lowest table first.
    pub rules: Vec<(String, RedactRule)>,
}

/// 128-bit hash of a binding. A tracer compares it instead of storing the binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u64; 2]);

impl ResolvedBinding {
    /// Returns equal digests for equal bindings within this process. Both halves hash the whole
    /// binding, so two bindings of one selector do not collide by chance. Not a security check: a
    /// collision leaves a tenant with its own earlier binding.
    pub(crate) fn digest(&self) -> Digest {
        let hasher = |half| SeedableRandomState::with_seed(half, SharedSeed::global_random());
        Digest([0, 1].map(|half| hasher(half).hash_one(self)))
    }
}

/// Fills in the merged layers for a selector.
pub(crate) fn fill(
    mut layers: MergedLayers<'_>,
    selector: &Selector,
    proxies: [&ProxyUrls; 2],
) -> Result<ResolvedBinding, ResolveError> {
    let proxy = match &layers.binding.proxy {
        Some(proxy) => ResolvedProxy::resolve(proxy, proxies, selector)?,
        None => None,
    };
    let project = layers.binding.project.as_deref();
    let project = project.map(|project| template::fill(project, selector)).transpose()?;
    // Refused settings are reported first, because they may be the reason for a missing key.
    let api_key = layers.key();
    let rules = layers.take_redact_rules();
    let (merged, untrusted) = layers.check(api_key.as_ref().ok(), project.as_deref(), proxy.as_ref())?;
    let api_key = api_key?;
    let mut headers = Vec::with_capacity(merged.headers.len());
    for (name, value) in &*merged.headers {
        let name = HeaderName::try_from(name).expect("a checked name");
        let value = HeaderValue::from_str(&template::fill(value, selector)?);
        let value = value.map_err(|_| ResolveError::Header(name.clone()))?;
        headers.push((name, value));
    }
    let fill_values = |values: Redacted<BTreeMap<String, Value>>| -> Result<_, TemplateError> {
        let filled = values.0.into_iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key, Value::String(template::fill(&text, selector)?))),
            other => Ok((key, other)),
        });
        filled.collect::<Result<_, _>>().map(Redacted)
    };
    let propagation = merged.propagation.unwrap_or_default();
    Ok(ResolvedBinding {
        api_key,
        untrusted,
        backend: merged.backend.unwrap_or_default(),
        endpoint: merged.endpoint.as_deref().map(Endpoint::from_checked),
        project,
        auth: merged.auth,
        tls: merged.tls.unwrap_or_default().fill(selector)?,
        proxy,
        headers: Redacted(headers),
        source: merged
            .source
            .map(|source| template::fill(&source, selector))
            .transpose()?,
        metadata: fill_values(merged.metadata)?,
        resource: fill_values(merged.resource)?,
        sampling: merged.sampling.unwrap_or_default(),
        limits: merged.limits.unwrap_or_default(),
        trust_remote_parent: propagation.trust_remote_parent.unwrap_or(false),
        propagate_session_id: propagation.session_id.unwrap_or(false),
        sessions: merged.sessions.unwrap_or_default(),
        weight: merged.weight.unwrap_or(DEFAULT_WEIGHT),
        redact: ResolvedRedact::resolve(rules, &merged.redact.unwrap_or_default(), selector)?,
        quota: merged.quota.map(|quota| *quota).unwrap_or_default(),
        also: merged.also.unwrap_or_default(),
        selector: selector.clone(),
    })
}

impl ResolvedRedact {
    fn resolve(rules: Vec<(String, RedactRule)>, merged: &Redact, selector: &Selector) -> Result<Self, ResolveError> {
        let key = merged.key.as_ref();
        let key = key.map(|source| template::fill_source(source, selector)).transpose()?;
        let hashes = |(_, rule): &&(String, RedactRule)| rule.action == Some(RedactAction::Hash);
        if key.is_none()
            && let Some((name, _)) = rules.iter().find(hashes)
        {
            return Err(ResolveError::NoHashKey(name.clone()));
        }
        Ok(Self {
            key,
            names: merged.names.unwrap_or(false),
            rules,
        })
    }
}
