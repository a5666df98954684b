//! Where and in which form requests are sent. Shared by tracers, so it holds no data of a single
//! tracer: the key is attached when a request is sent, and the selector when it is encoded.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use opentelemetry::trace::TraceId;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SpanData, SpanLimits};
use serde_json::{Map, Value as Json};

use super::attributes::AttributeNames;
#[cfg(feature = "encoded")]
use super::edits::Edits;
use super::error::DestinationError;
use super::flatten::{CUT_VALUES, cut_values, flatten, to_otel};
use super::honeyhive;
use super::preset::{self, PathRule, Preset};
use super::project::{Project, ProjectAttribute};
use super::session_id::trace_session_id;
use crate::config::{AuthScheme, BackendName, Endpoint, Limits, Protocol, ResolvedBinding, SessionMode};
use crate::secret::KeyScheme;
use crate::selector::Selector;

const TRACES: &str = "/v1/traces";
/// Attribute with the source, if the backend has none for spans.
pub(crate) const SOURCE_ON_RESOURCE: &str = "deployment.environment.name";
const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Address, headers and attributes of requests, shared by tracers with equal bindings.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) backend: BackendName,
    /// Scheme, host and port of all its URLs.
    pub(crate) origin: String,
    pub(crate) traces_url: String,
    /// Endpoints that start and enrich sessions, if the backend has a session API.
    pub(crate) sessions: Option<SessionUrls>,
    pub(crate) key_header: HeaderName,
    pub(crate) key_scheme: KeyScheme,
    /// Headers of every request, without the key's.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) names: &'static AttributeNames,
    /// Whether a span without a session belongs to the session of its trace.
    pub(crate) session_per_trace: bool,
    pub(crate) source: Option<Arc<str>>,
    /// Project that receives the spans, as far as it is known.
    pub(crate) project: Project,
    /// A binding's metadata, for sessions.
    pub(crate) metadata: Map<String, Json>,
    /// Attributes of every resource. For equal keys, the last one wins.
    resource: Vec<KeyValue>,
    /// Weight in the fair share of sending.
    pub(crate) weight: u32,
    /// Maximum attributes that the program may set on a span.
    max_attributes: usize,
    /// Attributes of every span.
    span_attributes: Vec<KeyValue>,
    /// Changes to spans that clients encoded.
    #[cfg(feature = "encoded")]
    pub(crate) edits: Edits,
}

#[derive(Debug)]
pub(crate) struct SessionUrls {
    pub(crate) start: String,
    pub(crate) events: String,
}

impl Destination {
    pub(crate) fn new(binding: &ResolvedBinding, protocol: Protocol) -> Result<Self, DestinationError> {
        Self::with(binding, protocol, &mut |_| {})
    }

    /// Like [`new`](Self::new). `change` changes the attributes of `resource` and `metadata` of the
    /// binding, except those that choose a project. The metadata of sessions stays as it is, because
    /// it is a part of session events.
    pub(crate) fn with(
        binding: &ResolvedBinding,
        protocol: Protocol,
        change: &mut dyn FnMut(&mut Vec<KeyValue>),
    ) -> Result<Self, DestinationError> {
        let preset = preset::of(binding.backend);
        match protocol {
            Protocol::HttpJson if preset.protobuf_only => {
                return Err(DestinationError::ProtobufOnly(binding.backend));
            }
            Protocol::Grpc if !preset.grpc => return Err(DestinationError::NoGrpc(binding.backend)),
            Protocol::HttpProtobuf | Protocol::HttpJson | Protocol::Grpc => {}
        }
        let endpoint = match (&binding.endpoint, preset.endpoint) {
            (Some(configured), _) => configured.clone(),
            (None, Some(known)) => Endpoint::known(known),
            (None, None) => return Err(DestinationError::NoEndpoint(binding.backend)),
        };
        let (header, scheme) = match &binding.auth {
            Some(auth) => (auth.header.as_str(), auth.scheme),
            None => (preset.header, preset.scheme),
        };
        let metadata = metadata(preset.names, binding, change);
        let traces_url = match protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => traces_url(preset, &endpoint),
            Protocol::Grpc if endpoint.path().is_empty() => endpoint.join(GRPC_TRACES),
            Protocol::Grpc => return Err(DestinationError::GrpcPath(endpoint.to_string())),
        };
        let (project, sent) = Project::new(&preset.project, binding, &traces_url, protocol)?;
        let mut headers = headers(preset, binding)?;
        let mut configured = resource(preset.names, binding, metadata.resource, change);
        match sent {
            Some(ProjectAttribute::Header(name, value)) => headers.push((name, value)),
            Some(ProjectAttribute::Resource(attribute)) => configured.push(attribute),
            None => {}
        }
        // `"a.b"` and the entry `b` of a table `a` have the same name.
        keep_last(&mut configured);
        let span_attributes = span_attributes(preset.names, binding, metadata.span_attributes);
        Ok(Self {
            #[cfg(feature = "encoded")]
            edits: Edits {
                resource: configured.clone(),
                span_attributes: span_attributes.clone(),
                forced_keys: preset::project_attributes(binding.backend)
                    .flat_map(|row| row.anywhere)
                    .copied()
                    .collect(),
                forced_on_resource: preset::project_attributes(binding.backend)
                    .flat_map(|row| row.on_resource)
                    .copied()
                    .collect(),
                event_type: preset.names.needs_event_type.then_some(preset.names),
                session_id: (binding.sessions == SessionMode::PerTrace).then_some(preset.names.session_id),
            },
            backend: binding.backend,
            origin: endpoint.origin().to_owned(),
            traces_url,
            sessions: (preset.session_api && binding.sessions != SessionMode::AutoCreate)
                .then(|| session_urls(preset, &endpoint)),
            session_per_trace: binding.sessions == SessionMode::PerTrace,
            key_header: HeaderName::try_from(header).expect("a header name checked in the preset or the configuration"),
            key_scheme: match scheme {
                AuthScheme::Bearer => KeyScheme::Bearer,
                AuthScheme::Basic => KeyScheme::Basic,
                AuthScheme::Raw => KeyScheme::Raw,
            },
            headers,
            project,
            names: preset.names,
            source: binding.source.as_deref().map(Arc::from),
            weight: binding.weight,
            metadata: binding.metadata.0.clone().into_iter().collect(),
            resource: default_resource().chain(configured).collect(),
            max_attributes: span_limits(&binding.limits).max_attributes_per_span as usize,
            span_attributes,
        })
    }

    /// Returns the limits for the SDK: one attribute more than configured, for the session's id.
    /// The id comes first, so the SDK never drops it. [`drop_extra`](Self::drop_extra) removes the
    /// extra attribute from spans outside sessions.
    pub(crate) fn sdk_limits(binding: &ResolvedBinding) -> SpanLimits {
        let mut limits = span_limits(&binding.limits);
        limits.max_attributes_per_span = limits.max_attributes_per_span.saturating_add(1);
        limits
    }

    /// Returns the resource of a tracer.
    pub(crate) fn resource(&self, selector: &Selector) -> Resource {
        // Comes first, so that a configured attribute of this name wins.
        let selector = KeyValue::new("tracer_registry.selector", selector.to_string());
        let attributes = std::iter::once(selector).chain(self.resource.iter().cloned());
        Resource::builder_empty().with_attributes(attributes).build()
    }

    /// Applies the limit of attributes to a span that the SDK recorded with one more.
    pub(crate) fn drop_extra(&self, span: &mut SpanData) {
        // The lane appends this count beyond the limit.
        let cut = span.attributes.pop_if(|last| last.key.as_str() == CUT_VALUES);
        if !self.has_session(span) && span.attributes.len() == self.max_attributes + 1 {
            span.attributes.pop();
            span.dropped_attributes_count += 1;
        }
        span.attributes.extend(cut);
    }

    /// Completes a span for a copy: like [`finish`](Self::finish), without what the binding adds.
    pub(crate) fn finish_copy(&self, span: &mut SpanData) {
        self.drop_extra(span);
        let has_session = self.has_session(span);
        self.keep_last_and_own(&mut span.attributes, has_session);
    }

    /// Returns whether a span carries the session of its scope, which comes first.
    fn has_session(&self, span: &SpanData) -> bool {
        let first = span.attributes.first();
        first.is_some_and(|first| first.key.as_str() == self.names.session_id)
    }

    /// Adds the attributes that every span of the tracer carries. Removes attributes of the same
    /// names that the program set, so that a span cannot claim another source or, inside a session,
    /// another session.
    ///
    /// `session_of` is the span's trace, if that trace is a session.
    pub(crate) fn finish(&self, span: &mut SpanData, session_of: Option<TraceId>) {
        let has_session = self.has_session(span);
        // A session that the program started takes precedence over the session of the trace.
        let session_of = session_of.filter(|_| !has_session);
        if let Some(trace) = session_of {
            let id: Arc<str> = trace_session_id(trace).to_string().into();
            let id = KeyValue::new(self.names.session_id, Value::String(id.into()));
            span.attributes.insert(0, id);
        }
        let has_session = has_session || session_of.is_some();
        self.keep_last_and_own(&mut span.attributes, has_session);
        span.events
            .events
            .iter_mut()
            .for_each(|event| keep_last(&mut event.attributes));
        span.links
            .links
            .iter_mut()
            .for_each(|link| keep_last(&mut link.attributes));
        if self.names.needs_event_type && attribute(&span.attributes, self.names.event_type_key()).is_none() {
            let event_type = honeyhive::event_type(|key| Some(attribute(&span.attributes, key)?.value.as_str()));
            span.attributes.push(self.names.event_type(event_type));
        }
        // Attributes that the program set take precedence over the binding's.
        let own = span.attributes.len();
        for attribute in &self.span_attributes {
            if !span.attributes[..own].iter().any(|set| set.key == attribute.key) {
                span.attributes.push(attribute.clone());
            }
        }
    }

    /// Removes attributes that claim another session or source, and attributes that a later one
    /// replaces.
    fn keep_last_and_own(&self, attributes: &mut Vec<KeyValue>, has_session: bool) {
        let own_session = has_session.then(|| attributes.remove(0));
        attributes.retain(|attribute| {
            let key = attribute.key.as_str();
            let is_identity = (has_session && key == self.names.session_id)
                || (self.source.is_some() && Some(key) == self.names.source);
            !is_identity
        });
        keep_last(attributes);
        if let Some(own_session) = own_session {
            attributes.insert(0, own_session);
        }
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a KeyValue> {
    attributes.iter().find(|attribute| attribute.key.as_str() == key)
}

/// Keeps the last attribute of each key. Keys must be unique (OTLP), and a later value replaces an
/// earlier one (trace API, "Set Attributes"); the SDK keeps both.
fn keep_last(attributes: &mut Vec<KeyValue>) {
    // Pairwise comparison, because most spans have few attributes and the limits bound them.
    let is_replaced = |index: &usize| {
        let key = &attributes[*index].key;
        attributes[index + 1..].iter().any(|later| later.key == *key)
    };
    let replaced: Vec<usize> = (0..attributes.len()).filter(is_replaced).collect();
    for index in replaced.into_iter().rev() {
        attributes.remove(index);
    }
}

fn span_limits(limits: &Limits) -> SpanLimits {
    SpanLimits {
        max_attributes_per_span: limits.attributes.unwrap_or(Limits::DEFAULT),
        max_events_per_span: limits.events.unwrap_or(Limits::DEFAULT),
        max_links_per_span: limits.links.unwrap_or(Limits::DEFAULT),
        max_attributes_per_event: limits.attributes_per_event.unwrap_or(Limits::DEFAULT),
        max_attributes_per_link: limits.attributes_per_link.unwrap_or(Limits::DEFAULT),
    }
}

fn traces_url(preset: &Preset, endpoint: &Endpoint) -> String {
    let path = endpoint.path();
    match preset.path {
        _ if path.is_empty() => endpoint.join(preset.traces_path),
        _ if path.ends_with(TRACES) => endpoint.join(path),
        PathRule::AsGiven => endpoint.join(path),
        // Backends with a base path (`/otlp`, `/api/public/otel`) document endpoints that include
        // it, so it is not added again. HoneyHive's path follows the prefix of the deployment.
        PathRule::Base if preset.session_api => endpoint.join(&format!("{path}{}", preset.traces_path)),
        PathRule::Base => endpoint.join(&format!("{path}{TRACES}")),
    }
}

fn session_urls(preset: &Preset, endpoint: &Endpoint) -> SessionUrls {
    let path = endpoint.path();
    let base = path
        .strip_suffix(preset.traces_path)
        .or_else(|| path.strip_suffix(TRACES))
        .unwrap_or(path);
    SessionUrls {
        start: endpoint.join(&format!("{base}{}", honeyhive::START_PATH)),
        events: endpoint.join(&format!("{base}{}", honeyhive::EVENTS_PATH)),
    }
}

fn headers(preset: &Preset, binding: &ResolvedBinding) -> Result<Vec<(HeaderName, HeaderValue)>, DestinationError> {
    let known = preset
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let mut headers: Vec<_> = known.collect();
    headers.extend(binding.headers.iter().cloned());
    if let (true, Some(source)) = (preset.session_api, &binding.source) {
        let value = HeaderValue::from_str(source).map_err(|_| DestinationError::Source)?;
        headers.push((HeaderName::from_static("x-source"), value));
    }
    Ok(headers)
}

/// Returns the resource's attributes that a binding may replace: the SDK's own, without other
/// detectors or `OTEL_*` variables of the process.
fn default_resource() -> impl Iterator<Item = KeyValue> {
    let sdk = TelemetryResourceDetector.detect();
    let attributes: Vec<_> = sdk
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    attributes.into_iter().chain([
        KeyValue::new("service.name", "unknown_service"),
        KeyValue::new("telemetry.distro.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
    ])
}

/// Returns the resource's attributes that are configured.
fn resource(
    names: &AttributeNames,
    binding: &ResolvedBinding,
    metadata: Vec<KeyValue>,
    change: &mut dyn FnMut(&mut Vec<KeyValue>),
) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    if let (None, Some(source)) = (names.source, &binding.source) {
        attributes.push(KeyValue::new(SOURCE_ON_RESOURCE, source.clone()));
    }
    attributes.extend(metadata);
    let configured = binding
        .resource
        .iter()
        .filter_map(|(key, value)| Some(KeyValue::new(key.clone(), to_otel(value)?)));
    for attribute in configured {
        let is_fixed = preset::is_project_attribute_of(binding.backend, attribute.key.as_str());
        let mut attribute = vec![attribute];
        if !is_fixed {
            change(&mut attribute);
        }
        attributes.append(&mut attribute);
    }
    attributes
}

fn span_attributes(names: &AttributeNames, binding: &ResolvedBinding, metadata: Vec<KeyValue>) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    if let (Some(key), Some(source)) = (names.source, &binding.source) {
        let source: Arc<str> = source.as_str().into();
        attributes.push(KeyValue::new(key, Value::String(source.into())));
    }
    attributes.extend(metadata);
    // `"a.b"` and the entry `b` of a table `a` have the same name.
    keep_last(&mut attributes);
    attributes
}

/// A binding's metadata as attributes, for spans or for the resource.
struct Metadata {
    span_attributes: Vec<KeyValue>,
    resource: Vec<KeyValue>,
}

fn metadata(names: &AttributeNames, binding: &ResolvedBinding, change: &mut dyn FnMut(&mut Vec<KeyValue>)) -> Metadata {
    let mut attributes = Vec::new();
    let table = Json::Object(binding.metadata.0.clone().into_iter().collect());
    let prefix = names.metadata.unwrap_or("tracer_registry.metadata.");
    let cut = flatten(prefix, &table, &mut attributes);
    change(&mut attributes);
    let (span_attributes, mut resource) = match names.metadata {
        Some(_) => (attributes, Vec::new()),
        None => (Vec::new(), attributes),
    };
    if let Some(cut) = cut_values(CUT_VALUES, cut) {
        resource.push(cut);
    }
    Metadata {
        span_attributes,
        resource,
    }
}
