//! What a table of the configuration says for a selector, and the same as a value for programs without files.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::config::read::table::Table;
use crate::config::rules::values;
use crate::config::settings::declare::table;
#[cfg(feature = "schema")]
use crate::config::settings::forms;
use crate::config::settings::key_source;
use crate::config::settings::proxy::Proxy;
use crate::config::settings::redacted::Redacted;
use crate::config::settings::setting::replaced;
use crate::config::settings::tls::Tls;
use crate::secret::KeySource;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

table! {
    /// What the configuration says for an environment, a feature, a tenant or a route, or for all (`[defaults]`).
    ///
    /// Everything is optional: what a binding leaves out comes from the bindings it is laid over. `Debug` shows no value that could be a key by
    /// mistake.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[overlay(Binding::overlay)]
    pub struct Binding {
        /// Where the key comes from. A key itself is never written in the configuration.
        #[schema(with = "Option<forms::KeySource>")]
        #[untrusted(checked)]
        pub(crate) api_key: Option<KeySource>,
        /// The kind of destination: which header carries the key, which path takes spans, how sessions are spelled. Default: honeyhive.
        #[untrusted(checked)]
        pub(crate) backend: Option<BackendName>,
        /// The destination's URL. Without a path it gets the backend's paths. The path of an `otlp` endpoint is taken as it is; that of any other
        /// is the base that the backend's paths are added to, unless it ends in `/v1/traces`. Default: the backend's own.
        #[schema(with = "Option<String>")]
        #[untrusted(checked)]
        #[take(url)]
        #[rule(values::url)]
        pub(crate) endpoint: Redacted<Option<String>>,
        /// The project that spans land in, for backends whose key does not choose it: `phoenix`, `langsmith`, `braintrust`, and `mlflow`, where it
        /// is the id of an experiment. Default: the backend's default project; `mlflow` has none.
        #[untrusted(checked)]
        #[rule(values::project)]
        pub(crate) project: Option<String>,
        /// Another header or scheme for the key than the backend's.
        pub(crate) auth: Option<Auth>,
        /// Certificates for an `https` endpoint. Default: the platform's authorities, no client certificate.
        pub(crate) tls: Option<Tls>,
        /// What requests go through. Default: nothing, whatever variables of the process say.
        #[schema(with = "Option<forms::Proxy>")]
        pub(crate) proxy: Option<Proxy>,
        /// Further headers of every request. Headers that carry keys are refused here.
        pub(crate) headers: Redacted<BTreeMap<String, String>>,
        /// The `source` of sessions and spans, such as `production`.
        #[untrusted(free)]
        pub(crate) source: Option<String>,
        /// Metadata of every session and, where the backend wants it there, of every span.
        #[untrusted(free)]
        pub(crate) metadata: Redacted<BTreeMap<String, serde_json::Value>>,
        /// Resource attributes, such as `service.name`. Texts, numbers and booleans.
        #[schema(schema_with = "forms::attributes")]
        #[untrusted(checked)]
        pub(crate) resource: Redacted<BTreeMap<String, serde_json::Value>>,
        /// Which traces are recorded. Default: all.
        #[untrusted(lowered)]
        pub(crate) sampling: Option<Sampling>,
        /// How much one span may hold. Defaults: 128 of each, as OpenTelemetry has it.
        #[untrusted(lowered)]
        pub(crate) limits: Option<Limits>,
        /// What is taken from requests that come in, and given to those that go out.
        #[untrusted(lowered)]
        pub(crate) propagation: Option<Propagation>,
        /// How sessions come about. Default: explicit.
        #[untrusted(free)]
        pub(crate) sessions: Option<SessionMode>,
        /// How large a share of the sending it gets if more tracers want to send than may: twice the weight, twice the bytes. Default: 100.
        #[schema(range(min = 1, max = 10_000))]
        #[take(weight)]
        #[limit(in_weights)]
        pub(crate) weight: Option<u32>,
        #[state]
        /// Not written by the operator: it may say only what `[untrusted]` allows.
        pub(crate) untrusted: bool,
        #[state]
        /// The key that lower layers of this table had was for something that an upper one changed.
        pub(crate) forgotten: Option<Change>,
    }
}

/// A change that forgets the key and `auth` of the tables below it: a key is for what it was written with. A project is of a backend at an
/// endpoint: a change of either forgets `project` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Of the backend.
    Backend,
    /// Of the endpoint's scheme, host or port.
    Endpoint,
    /// Of the proxy.
    Proxy,
    /// Of the certificate authorities.
    Authority,
}

/// A kind of destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackendName {
    /// HoneyHive: sessions by its API, spans by OTLP, a project per key.
    #[default]
    Honeyhive,
    /// Any OTLP receiver, by HTTP or gRPC; the key as a bearer token unless `auth` says otherwise.
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
    /// The header that carries the key.
    #[serde(default = "default_auth_header")]
    pub(crate) header: String,
    /// How the key stands in it.
    #[serde(default)]
    pub(crate) scheme: AuthScheme,
}

fn default_auth_header() -> String {
    "authorization".to_owned()
}

/// How the key stands in its header.
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

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The part of all traces that is recorded, from 0.0 to 1.0. The spans of a trace share its fate.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub ratio: f64,
}

table! {
    /// How much one span may hold; what is above is dropped and counted on the span.
    #[derive(Clone, Debug, Default, PartialEq, Copy, Eq, Hash)]
    pub struct Limits {
        /// Attributes of a span. The session's id, the source and the count of cut values are not counted, and never dropped.
        #[most(Limits::DEFAULT)]
        pub attributes: Option<u32>,
        /// Events of a span.
        #[most(Limits::DEFAULT)]
        pub events: Option<u32>,
        /// Links of a span.
        #[most(Limits::DEFAULT)]
        pub links: Option<u32>,
        /// Attributes of an event.
        #[most(Limits::DEFAULT)]
        pub attributes_per_event: Option<u32>,
        /// Attributes of a link.
        #[most(Limits::DEFAULT)]
        pub attributes_per_link: Option<u32>,
    }
}

impl Limits {
    /// Each limit if none is set (OpenTelemetry specification, "Span Limits").
    pub(crate) const DEFAULT: u32 = 128;
}

table! {
    /// What is taken from requests that come in, and given to those that go out.
    #[derive(Clone, Debug, Default, PartialEq, Copy, Eq)]
    pub struct Propagation {
        /// Whether a remote span (from a `traceparent` header) may be the parent of this tracer's spans. Default: false.
        #[most(false)]
        pub trust_remote_parent: Option<bool>,
        /// Whether the session's id goes along, as the baggage entry `session.id`, and is taken from there. Default: false.
        #[most(false)]
        pub session_id: Option<bool>,
    }
}

/// How sessions come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionMode {
    /// The program starts them; spans outside have none.
    #[default]
    Explicit,
    /// As `explicit`, and each trace that is begun outside a session is one; its id is the trace's, made a UUID.
    PerTrace,
    /// The program starts them, and the backend makes them from attributes of their spans: nothing else is sent.
    AutoCreate,
}

replaced! {
    BackendName: Table::choose;
    SessionMode: Table::choose;
    KeySource: key_source::take;
    Proxy: Proxy::take;
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
            table.fault("ratio", "missing");
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
    /// Whether the name of a project means the same project whatever the key. Elsewhere a key is of one project, or of an account with
    /// projects of its own.
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
    /// A binding that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the key comes from.
    pub fn api_key(mut self, source: KeySource) -> Self {
        self.api_key = Some(source);
        self
    }

    /// The kind of destination.
    pub fn backend(mut self, backend: BackendName) -> Self {
        self.backend = Some(backend);
        self
    }

    /// The destination's URL; checked when the registry is built.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        *self.endpoint = Some(url.into());
        self
    }

    /// The project that spans land in, for backends whose key does not choose it; for MLflow the id of an experiment.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Another header or scheme for the key than the backend's.
    pub fn auth(mut self, header: impl Into<String>, scheme: AuthScheme) -> Self {
        self.auth = Some(Auth {
            header: header.into(),
            scheme,
        });
        self
    }

    /// Certificates for an `https` endpoint.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What requests go through.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// A further header of every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// The `source` of sessions and spans.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// One entry of metadata. A table or list that is nested more than 64 levels deep is null.
    pub fn metadata(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.metadata.insert(key.into(), bounded(value));
        self
    }

    /// One resource attribute: a text, a number or a boolean.
    pub fn resource(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.resource.insert(key.into(), bounded(value));
        self
    }

    /// The part of all traces that is recorded, from 0.0 to 1.0.
    pub fn sampling_ratio(mut self, ratio: f64) -> Self {
        self.sampling = Some(Sampling { ratio });
        self
    }

    /// How much one span may hold.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Whether a remote span may be the parent of this tracer's spans.
    pub fn trust_remote_parent(mut self, trust: bool) -> Self {
        self.propagation.get_or_insert_default().trust_remote_parent = Some(trust);
        self
    }

    /// Whether the session's id goes along with requests, as the baggage entry `session.id`, and is taken from there.
    pub fn propagate_session_id(mut self, propagate: bool) -> Self {
        self.propagation.get_or_insert_default().session_id = Some(propagate);
        self
    }

    /// How sessions come about.
    pub fn sessions(mut self, mode: SessionMode) -> Self {
        self.sessions = Some(mode);
        self
    }

    /// How large a share of the sending it gets if more tracers want to send than may: from 1 to 10000, 100 being usual.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Trusts the binding as one that was written in code: for JSON that only the operator of the program can write. A binding from
    /// [`from_json`](Self::from_json) is not trusted, whatever is built upon it.
    pub fn trusted(mut self) -> Self {
        self.untrusted = false;
        self
    }
}
