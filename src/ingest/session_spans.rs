//! Requests to the session API as spans, for backends without one.
//!
//! The session's id is the trace id, and the ids of its events give the span ids. So a session and
//! its events form one trace with the parents that the client named.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::session_json::{Kind, SessionRequest};
use crate::backend::{
    AttributeNames, CUT_VALUES, DataPart, Destination, EventType, SOURCE_ON_RESOURCE, cut_values, flatten,
    parse_session_id, shorten_text,
};
use crate::export::Payload;

/// Attribute with the id of an event that was posted on its own.
const EVENT_ID: &str = "tracer_registry.event.id";
/// Value of `error.type` for an error without a type, as OpenTelemetry's conventions specify.
const OTHER_ERROR: &str = "_OTHER";
/// Last millisecond of the year 9999.
const LAST_MILLIS: f64 = 253_402_300_799_999.0;

/// Returns a request as a span, without what the binding adds.
pub(super) fn payload(destination: &Destination, request: &SessionRequest) -> Payload {
    let fields = &request.fields;
    let mut attributes = Attributes {
        fields,
        names: destination.names,
        list: Vec::new(),
        cut: 0,
    };
    let (session, name) = match request.kind {
        Kind::Start => (Some(request.id), attributes.add_start()),
        Kind::Enrich => (Some(request.session.unwrap_or(request.id)), attributes.add_enrichment()),
        Kind::Single => (request.session, attributes.add_event(request.id)),
    };
    // Last, because the last of equal keys is kept.
    let session_text = session.map(|id| id.to_string());
    let given = || text(fields, "session_id").map(str::to_owned);
    attributes.add_text(Some(destination.names.session_id), session_text.or_else(given));
    let source = text(fields, "source");
    attributes.add_text(destination.names.source, source.map(str::to_owned));
    let on_resource = source.filter(|_| destination.names.source.is_none());
    let on_resource = on_resource.map(|source| KeyValue::new(SOURCE_ON_RESOURCE, shorten_text(source).0));
    let (start_time, end_time) = times(request);
    let span = SpanData {
        span_context: context(request, session),
        parent_span_id: parent(request).unwrap_or(SpanId::INVALID),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time,
        end_time,
        attributes: attributes.finish(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(request),
        instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).build(),
    };
    Payload::of_span(&span, &Resource::builder_empty().with_attributes(on_resource).build())
}

/// Attributes of a span, from the fields of a request.
struct Attributes<'r> {
    fields: &'r Map<String, Value>,
    names: &'static AttributeNames,
    list: Vec<KeyValue>,
    /// Number of values that were omitted or shortened.
    cut: u64,
}

impl Attributes<'_> {
    fn add_start(&mut self) -> String {
        self.add_session_data();
        self.list
            .extend(self.names.session_auto_create.map(|key| KeyValue::new(key, true)));
        let name = text(self.fields, "session_name").or_else(|| text(self.fields, "event_name"));
        self.add_text(Some(self.names.session_name), name.map(str::to_owned));
        "session.start".to_owned()
    }

    fn add_enrichment(&mut self) -> String {
        self.add_session_data();
        "session.enrich".to_owned()
    }

    fn add_event(&mut self, id: Uuid) -> String {
        for part in DataPart::ALL {
            if let Some(entries) = self.fields.get(part.name()).and_then(Value::as_object) {
                let entries = entries.iter().map(|(key, value)| (&**key, value));
                let converted = self.names.span_data(part, entries);
                self.list.extend(converted.attributes);
                self.cut += converted.cut;
            }
        }
        let event_type = match text(self.fields, "event_type") {
            Some("model") => Some(EventType::Model),
            Some("tool") => Some(EventType::Tool),
            Some("chain") => Some(EventType::Chain),
            _ => None,
        };
        self.list
            .extend(event_type.map(|event_type| self.names.event_type(event_type)));
        if let Some(error) = text(self.fields, "error") {
            let (error, cut) = shorten_text(error);
            self.list.extend(self.names.error(&error, OTHER_ERROR));
            self.cut += cut;
        }
        self.add_text(Some(EVENT_ID), Some(id.to_string()));
        let (name, cut) = shorten_text(text(self.fields, "event_name").unwrap_or("event"));
        self.cut += cut;
        name
    }

    fn add_session_data(&mut self) {
        for part in DataPart::ALL {
            if let Some(value) = self.fields.get(part.name()) {
                self.cut += flatten(&self.names.session_part(part), value, &mut self.list);
            }
        }
        let duration = self.fields.get("duration").and_then(Value::as_f64);
        let duration = duration.map(|millis| KeyValue::new(self.names.session_duration(), millis));
        self.list.extend(duration);
    }

    fn add_text(&mut self, key: Option<&'static str>, value: Option<String>) {
        if let (Some(key), Some(value)) = (key, value) {
            let (value, cut) = shorten_text(&value);
            self.list.push(KeyValue::new(key, value));
            self.cut += cut;
        }
    }

    /// Returns the attributes. Of equal keys, the last one is kept.
    fn finish(mut self) -> Vec<KeyValue> {
        self.list.extend(cut_values(CUT_VALUES, self.cut));
        let mut seen = HashSet::new();
        let is_last: Vec<bool> = self
            .list
            .iter()
            .rev()
            .map(|each| seen.insert(each.key.clone()))
            .collect();
        let mut is_last = is_last.into_iter().rev();
        self.list.retain(|_| is_last.next().unwrap_or_default());
        self.list
    }
}

fn text<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f str> {
    fields.get(name).and_then(Value::as_str)
}

fn context(request: &SessionRequest, session: Option<Uuid>) -> SpanContext {
    let random = RandomIdGenerator::default();
    let trace_id = session.map_or_else(|| random.new_trace_id(), |id| TraceId::from_bytes(id.into_bytes()));
    let own = (request.kind != Kind::Enrich).then(|| span_id(request.id)).flatten();
    let span_id = own.unwrap_or_else(|| random.new_span_id());
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// Returns the span id of a session or event: the last half of its id, which is random in every
/// common version of UUIDs.
fn span_id(id: Uuid) -> Option<SpanId> {
    let (_, last_half) = id.as_u64_pair();
    let id = SpanId::from_bytes(last_half.to_be_bytes());
    (id != SpanId::INVALID).then_some(id)
}

/// Returns the parent: what the client named, else the session.
fn parent(request: &SessionRequest) -> Option<SpanId> {
    let parent = match request.kind {
        Kind::Start => None,
        Kind::Enrich => Some(request.id),
        Kind::Single => {
            let named = text(&request.fields, "parent_id").and_then(parse_session_id);
            // Different ids may have the same last half.
            named
                .or(request.session)
                .filter(|parent| span_id(*parent) != span_id(request.id))
        }
    };
    parent.and_then(span_id)
}

fn status(request: &SessionRequest) -> Status {
    match text(&request.fields, "error") {
        Some(error) if request.kind == Kind::Single => Status::error(shorten_text(error).0),
        _ => Status::Unset,
    }
}

/// Returns when the span starts and ends: as the client measured it, else now.
fn times(request: &SessionRequest) -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    if request.kind == Kind::Enrich {
        return (now, now);
    }
    let millis = |name: &str| {
        let millis = request.fields.get(name)?.as_f64()?;
        Duration::try_from_secs_f64(millis.clamp(0.0, LAST_MILLIS) / 1000.0).ok()
    };
    let at = |name: &str| millis(name).and_then(|since| UNIX_EPOCH.checked_add(since));
    let duration = millis("duration").unwrap_or_default();
    let end = at("end_time");
    let start = at("start_time").unwrap_or_else(|| end.unwrap_or(now).checked_sub(duration).unwrap_or(UNIX_EPOCH));
    let end = end.or_else(|| start.checked_add(duration)).unwrap_or(start);
    (start, end.max(start))
}
