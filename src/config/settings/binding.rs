//! Bindings: settings of a selector, from tables or from code.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::config::problem::Layer;
use crate::config::read::table::Table;
use crate::config::rules::values::{self, at_least_one};
use crate::config::settings::declare::table;
use crate::config::settings::key_source;
use crate::config::settings::proxy::Proxy;
use crate::config::settings::quota::Quota;
use crate::config::settings::redact::Redact;
use crate::config::settings::redacted::Redacted;
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::{impl_setting, size};
use crate::config::settings::tls::Tls;
use crate::secret::KeySource;
use crate::selector::Selector;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

table! {
    /// Settings for an environment, a feature, a tenant, a route, or for all selectors
    /// (`[defaults]`).
    ///
    /// Every setting is optional. A setting overrides that of lower bindings: defaults <
    /// environment < feature < tenant < route. `Debug` omits all values that may contain a key by
    /// mistake, such as those of `headers`.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[overlay(Binding::overlay)]
    pub struct Binding {
        /// Source of the API key. The configuration never contains the key itself.
        #[schema(with = "Option<schema_types::KeySource>")]
        #[untrusted(checked)]
        pub(crate) api_key: Option<KeySource>,
        /// Backend to send to. It defines the key header, the path for spans and the names of
        /// session attributes. Default: `honeyhive`.
        #[untrusted(checked)]
        pub(crate) backend: Option<BackendName>,
        /// URL of the backend. Default: the backend's own URL. Spans are sent to:
        ///
        /// - the backend's default path, if the URL has no path;
        /// - the path of the URL, if it ends in `/v1/traces` or the backend is `otlp`;
        /// - otherwise the path of the URL followed by `/v1/traces`, or by
        ///   `/opentelemetry/v1/traces` if the backend is `honeyhive`.
        #[schema(with = "Option<String>")]
        #[untrusted(checked)]
        #[take(url)]
        #[rule(values::url)]
        pub(crate) endpoint: Redacted<Option<String>>,
        /// Project that receives the spans, for backends on which the key does not select it:
        /// `phoenix`, `langsmith`, `braintrust` and `mlflow`. For `mlflow` it is the id of an
        /// experiment and required. Default: the backend's default project.
        #[untrusted(checked)]
        #[rule(values::project)]
        pub(crate) project: Option<String>,
        /// Header and scheme of the key, if they differ from the backend's.
        pub(crate) auth: Option<Auth>,
        /// Certificates for an `https` endpoint. Default: the platform's authorities, no client
        /// certificate.
        pub(crate) tls: Option<Tls>,
        /// Proxy for requests. Default: none, regardless of environment variables.
        #[schema(with = "Option<schema_types::Proxy>")]
        pub(crate) proxy: Option<Proxy>,
        /// Additional headers of every request. Headers that carry keys are refused.
        pub(crate) headers: Redacted<BTreeMap<String, String>>,
        /// Label of the place that the data comes from, such as `production`. Sent to HoneyHive as
        /// the `source` of sessions and spans, and to other backends as the resource attribute
        /// `deployment.environment.name`. Unrelated to the source of the key.
        #[untrusted(free)]
        pub(crate) source: Option<String>,
        /// Metadata of every session. Also sent on every span or, if the backend has no attribute
        /// for it, on the resource.
        #[untrusted(free)]
        pub(crate) metadata: Redacted<BTreeMap<String, serde_json::Value>>,
        /// Resource attributes, such as `service.name`: strings, numbers and booleans.
        #[schema(schema_with = "schema_types::attributes")]
        #[untrusted(checked)]
        pub(crate) resource: Redacted<BTreeMap<String, serde_json::Value>>,
        /// Fraction of traces to record. Default: all.
        #[untrusted(lowered)]
        pub(crate) sampling: Option<Sampling>,
        /// Limits of a span and of requests. Default: 128 items each, as in the OpenTelemetry
        /// specification, and no limit in bytes.
        #[untrusted(lowered)]
        pub(crate) limits: Option<Limits>,
        /// Whether to trust remote parents and to propagate the session's id. Default: neither.
        #[untrusted(lowered)]
        pub(crate) propagation: Option<Propagation>,
        /// How sessions are created. Default: explicit.
        #[untrusted(free)]
        pub(crate) sessions: Option<SessionMode>,
        /// Share of the sending capacity when tracers compete for it: a tracer with twice the
        /// weight sends twice the bytes. Default: 100.
        #[schema(range(min = 1, max = 10_000))]
        #[take(weight)]
        #[limit(in_weights)]
        pub(crate) weight: Option<u32>,
        /// What is removed from data before it is stored or sent. Default: nothing.
        #[schema(with = "Option<Redact>")]
        #[untrusted(checked)]
        pub(crate) redact: Option<Box<Redact>>,
        /// How much the tenant may send. Default: no limit.
        #[schema(with = "Option<Quota>")]
        #[untrusted(lowered)]
        pub(crate) quota: Option<Box<Quota>>,
        /// Selectors that get a copy of every span, such as `environment:operations`. Their
        /// bindings must not have copies themselves. Default: none.
        #[schema(with = "Option<Vec<String>>")]
        pub(crate) also: Option<Vec<Selector>>,
        #[state]
        /// Whether the binding is untrusted: it may set only what `[untrusted]` allows.
        pub(crate) untrusted: bool,
        #[state]
        /// Key that was discarded when the layers of this table (files, variables) were merged.
        /// `None` if a later layer set a key.
        pub(crate) discarded: Option<DiscardedKey>,
    }
}

/// A setting that determines who receives the key. If a binding changes it, the key and `auth` of
/// lower bindings are discarded, because they were written for another receiver.
///
/// A change of the backend or endpoint also discards `project`. A change of the backend also
/// discards the endpoint and the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The backend.
    Backend,
    /// The endpoint's scheme, host or port.
    Endpoint,
    /// The proxy.
    Proxy,
    /// The certificate authorities.
    Authority,
}

/// A discarded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiscardedKey {
    pub(crate) change: Change,
    /// Layer with the change, if the key was discarded within one table.
    pub(crate) layer: Option<Layer>,
}

/// Kind of backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackendName {
    /// HoneyHive: sessions through its API, spans through OTLP, one project per key.
    #[default]
    Honeyhive,
    /// Any OTLP receiver, with HTTP or gRPC. Sends the key as a bearer token unless `auth` is set.
    Otlp,
    /// Langfuse.
    Langfuse,
    /// Arize Phoenix.
    Phoenix,
    /// LangSmith.
    Langsmith,
    /// Pydantic Logfire.
    Logfire,
    /// Braintrust.
    Braintrust,
    /// Honeycomb.
    Honeycomb,
    /// Grafana Cloud.
    Grafana,
    /// MLflow's tracking server.
    Mlflow,
}

/// How the key is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Header that carries the key.
    #[serde(default = "default_auth_header")]
    pub(crate) header: String,
    /// Scheme of the key in that header.
    #[serde(default)]
    pub(crate) scheme: AuthScheme,
}

fn default_auth_header() -> String {
    "authorization".to_owned()
}

/// Scheme of a key in its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthScheme {
    /// `Bearer <key>`
    #[default]
    Bearer,
    /// `Basic <base64 of the key>`, for keys of the form `user:secret`
    Basic,
    /// The key alone.
    Raw,
}

/// Fraction of traces to record.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Fraction of traces to record, from 0.0 to 1.0. Records either all spans of a trace or none.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub ratio: f64,
}

table! {
    /// Limits of a span and of requests with encoded spans. Items of a span beyond its limits are
    /// dropped and counted on the span.
    #[derive(Clone, Debug, Default, PartialEq, Copy, Eq, Hash)]
    pub struct Limits {
        /// Maximum attributes of a span. Not counted and never dropped are the session's id, the
        /// `source` and `metadata` of the binding, and `tracer_registry.cut_values`.
        #[max(Limits::DEFAULT)]
        pub attributes: Option<u32>,
        /// Maximum events of a span.
        #[max(Limits::DEFAULT)]
        pub events: Option<u32>,
        /// Maximum links of a span.
        #[max(Limits::DEFAULT)]
        pub links: Option<u32>,
        /// Maximum attributes of an event.
        #[max(Limits::DEFAULT)]
        pub attributes_per_event: Option<u32>,
        /// Maximum attributes of a link.
        #[max(Limits::DEFAULT)]
        pub attributes_per_link: Option<u32>,
        /// Maximum bytes of an encoded span that a client sends. Larger ones are not accepted.
        /// Applies only to encoded spans (Cargo feature `gateway`). Default: no limit.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub span_bytes: Option<usize>,
        /// Maximum bytes of encoded spans that a client sends in one request. A larger request is
        /// refused. Applies only to encoded spans (Cargo feature `gateway`). Default: no limit.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub request_bytes: Option<usize>,
    }
}

impl Limits {
    /// Default of each limit of items (OpenTelemetry specification, "Span Limits").
    pub(crate) const DEFAULT: u32 = 128;
}

table! {
    /// Trust in incoming requests, and propagation of the session's id.
    #[derive(Clone, Debug, Default, PartialEq, Copy, Eq)]
    pub struct Propagation {
        /// Whether a remote span (from a `traceparent` header) may be the parent of this tracer's
        /// spans. Default: false.
        #[max(false)]
        pub trust_remote_parent: Option<bool>,
        /// Whether the session's id is sent and accepted as the baggage entry `session.id`.
        /// Default: false.
        #[max(false)]
        pub session_id: Option<bool>,
    }
}

/// How sessions are created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionMode {
    /// The program starts sessions. Spans outside a session have none.
    #[default]
    Explicit,
    /// Like `explicit`. Also, each trace that starts outside a session is a session, with the trace
    /// id as its UUID.
    PerTrace,
    /// The program starts sessions. Only spans are sent, and the backend creates the sessions from
    /// their attributes.
    AutoCreate,
}

impl_setting! {
    BackendName: Table::choose;
    SessionMode: Table::choose;
    KeySource: key_source::take;
    Proxy: Proxy::take;
    Vec<Selector>: |table: &mut Table<'_>, name| {
        table.take(name, "a list of selectors such as \"environment:operations\"")
    };
    Auth: |table: &mut Table<'_>, name| table.table(name, |table| Auth {
        header: table.take("header", "a header's name").unwrap_or_else(default_auth_header),
        scheme: table.choose("scheme").unwrap_or_default(),
    });
    Sampling: |table: &mut Table<'_>, name| table.table(name, Sampling::take).flatten();
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0 }
    }
}

impl Hash for Sampling {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.ratio.to_bits().hash(hasher);
    }
}

impl Sampling {
    fn take(table: &mut Table<'_>) -> Option<Self> {
        if !table.fields.contains_key("ratio") {
            table.problem("ratio", "missing");
        }
        let ratio = table.take("ratio", "a number from 0.0 to 1.0")?;
        Some(Self { ratio })
    }
}

fn url(table: &mut Table<'_>, name: &'static str) -> Redacted<Option<String>> {
    Redacted(table.take(name, "a URL"))
}

fn weight(table: &mut Table<'_>, name: &'static str) -> Option<u32> {
    table.take(name, "a number from 1 to 10000")
}

fn in_weights(weight: u32) -> Option<String> {
    (!(1..=10_000).contains(&weight)).then(|| format!("{weight} is not between 1 and 10000"))
}

impl BackendName {
    /// Returns whether a project's name selects the same project with every key. On other backends,
    /// a key belongs to one project, or to an account with its own projects.
    pub(crate) fn shares_projects(self) -> bool {
        matches!(self, Self::Phoenix | Self::Mlflow)
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend => "the backend",
            Self::Endpoint => "the endpoint",
            Self::Proxy => "the proxy",
            Self::Authority => "the certificate authority",
        })
    }
}

impl Binding {
    /// Creates an empty binding.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the source of the API key.
    pub fn api_key(mut self, source: KeySource) -> Self {
        self.api_key = Some(source);
        self
    }

    /// Sets the backend.
    pub fn backend(mut self, backend: BackendName) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Sets the backend's URL. Checked when the registry is built.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        *self.endpoint = Some(url.into());
        self
    }

    /// Sets the project that receives the spans, for backends on which the key does not select it.
    /// For MLflow, it is the id of an experiment.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Sets the header and scheme of the key, in place of the backend's.
    pub fn auth(mut self, header: impl Into<String>, scheme: AuthScheme) -> Self {
        self.auth = Some(Auth {
            header: header.into(),
            scheme,
        });
        self
    }

    /// Sets the certificates for an `https` endpoint.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the proxy for requests.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Adds a header to every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the label of the place that the data comes from, such as `production`. Unrelated to the
    /// source of the key.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds an entry of metadata. Replaces tables and lists nested more than 64 levels deep with
    /// null.
    pub fn metadata(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.metadata.insert(key.into(), bounded(value));
        self
    }

    /// Adds a resource attribute: a string, a number or a boolean.
    pub fn resource(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.resource.insert(key.into(), bounded(value));
        self
    }

    /// Sets the fraction of traces to record, from 0.0 to 1.0.
    pub fn sampling_ratio(mut self, ratio: f64) -> Self {
        self.sampling = Some(Sampling { ratio });
        self
    }

    /// Sets the limits of a span.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets whether a remote span may be the parent of this tracer's spans. Default: false.
    pub fn trust_remote_parent(mut self, trust: bool) -> Self {
        self.propagation.get_or_insert_default().trust_remote_parent = Some(trust);
        self
    }

    /// Sets whether the session's id is sent and accepted as the baggage entry `session.id`.
    /// Default: false.
    pub fn propagate_session_id(mut self, propagate: bool) -> Self {
        self.propagation.get_or_insert_default().session_id = Some(propagate);
        self
    }

    /// Sets how sessions are created.
    pub fn sessions(mut self, mode: SessionMode) -> Self {
        self.sessions = Some(mode);
        self
    }

    /// Sets the share of the sending capacity when tracers compete for it, from 1 to 10000.
    /// Default: 100.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Sets what is removed from data before it is stored or sent.
    pub fn redact(mut self, redact: Redact) -> Self {
        self.redact = Some(Box::new(redact));
        self
    }

    /// Sets how much the tenant may send.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(Box::new(quota));
        self
    }

    /// Adds a selector that gets a copy of every span, such as `environment:operations`. Its binding
    /// must not have copies itself.
    pub fn also(mut self, selector: &Selector) -> Self {
        self.also.get_or_insert_default().push(selector.clone());
        self
    }

    /// Copies no spans, also if a lower binding does.
    pub fn without_copies(mut self) -> Self {
        self.also = Some(Vec::new());
        self
    }

    /// Marks a binding from [`from_json`](Self::from_json) as trusted, so that `[untrusted]` does
    /// not restrict it. Use it only for JSON that no one but the operator can write. Without it,
    /// the binding stays untrusted even if builder methods change it.
    pub fn trusted(mut self) -> Self {
        self.untrusted = false;
        self
    }
}
