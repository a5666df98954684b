//! A session's start, enrichments and end, sent in order as API calls or as spans.
//!
//! If the backend has a session API, start and enrichments are calls of the [`SessionQueue`], which
//! all handles of a session share.
//! Otherwise, or if the backend creates sessions from attributes, the session's spans carry its
//! data, and later data is sent as a short separate span.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use opentelemetry::{KeyValue, Value as OtelValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backend::{
    CUT_VALUES, DataPart, SessionStart, cut_values, enrich_body, flatten, start_body, trace_session_id,
};
use crate::context::{SessionScope, SessionStamp};
use crate::export::{Lane, SessionEvent, SessionQueue};
use crate::util::wall_time::Moment;

/// Attribute that counts the session values omitted from or truncated on the session's spans.
const SESSION_CUT_VALUES: &str = "tracer_registry.session.cut_values";

/// Name of the duration in an enrichment, in milliseconds.
const DURATION: &str = "duration";

/// One session of one tracer.
pub(crate) struct SessionState {
    id: Arc<str>,
    stamp: Arc<SessionStamp>,
    /// The spans take the session from their trace, not from a scope.
    is_of_trace: bool,
    lane: Arc<Lane>,
    /// `None` if the backend has no session API. Shared by all handles of the lane with this id.
    queue: Option<Arc<SessionQueue>>,
    /// `None` if another process started the session.
    began: Option<Moment>,
}

/// Data sent at the start of a session.
#[derive(Default)]
pub(crate) struct SessionData {
    pub(crate) name: String,
    pub(crate) inputs: Map<String, Value>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) user_properties: Map<String, Value>,
}

impl SessionState {
    /// Starts a session and sends its start.
    pub(crate) fn start(lane: &Arc<Lane>, id: Uuid, data: SessionData) -> Arc<Self> {
        let state = Arc::new(Self::new(lane, id, |id| stamp_attributes(lane, id, &data)));
        state.send_start(data);
        state
    }

    /// Starts the session of a trace. Its spans take their session from the trace id, not from a
    /// scope.
    pub(crate) fn start_of_trace(lane: &Arc<Lane>, trace: TraceId, name: String) -> Arc<Self> {
        let state = Self {
            is_of_trace: true,
            ..Self::new(lane, trace_session_id(trace), |id| vec![session_id(lane, id)])
        };
        state.send_start(SessionData {
            name,
            ..SessionData::default()
        });
        Arc::new(state)
    }

    /// Continues a session started by another process.
    pub(crate) fn resume(lane: &Arc<Lane>, id: Uuid) -> Arc<Self> {
        Arc::new(Self {
            began: None,
            ..Self::new(lane, id, |id| vec![session_id(lane, id)])
        })
    }

    fn new(lane: &Arc<Lane>, id: Uuid, attributes: impl FnOnce(&Arc<str>) -> Vec<KeyValue>) -> Self {
        let has_calls = lane.destination.sessions.is_some();
        let text: Arc<str> = id.hyphenated().to_string().into();
        Self {
            stamp: Arc::new(SessionStamp::new(attributes(&text))),
            id: text,
            is_of_trace: false,
            lane: Arc::clone(lane),
            queue: has_calls.then(|| SessionQueue::of(lane, id)),
            began: Some(Moment::now()),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn stamp(&self) -> &Arc<SessionStamp> {
        &self.stamp
    }

    /// Returns the session as a scope carries it.
    pub(crate) fn scope(self: &Arc<Self>) -> SessionScope {
        SessionScope {
            stamp: if self.is_of_trace {
                Arc::default()
            } else {
                Arc::clone(&self.stamp)
            },
            session: Arc::clone(self) as _,
        }
    }

    /// Sends the parts of an enrichment.
    pub(crate) fn enrich(&self, parts: Map<String, Value>) {
        if !parts.is_empty() {
            self.send("session.enrich", Moment::now(), parts);
        }
    }

    /// Ends the session once: later spans do not carry it. Sends the duration if this process
    /// started it.
    pub(crate) fn end(&self) {
        // Relaxed: orders no other memory.
        if self.stamp.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(began) = self.began {
            self.send("session.end", began, Map::from_iter(duration_part(began.elapsed())));
        }
    }

    /// Sends the parts of an enrichment as an API call, or as a span named `name`.
    fn send(&self, name: &'static str, began: Moment, parts: Map<String, Value>) {
        match &self.queue {
            Some(queue) => queue.push(SessionEvent::Enrich(enrich_body(&self.id, parts))),
            None => self.record_span(name, began, &parts),
        }
    }

    fn send_start(&self, data: SessionData) {
        let destination = &self.lane.destination;
        let Some(queue) = &self.queue else {
            // Each span of the session carries the rest.
            if !data.inputs.is_empty() {
                let parts = Map::from_iter([(DataPart::Inputs.name().to_owned(), Value::Object(data.inputs))]);
                self.record_span("session.start", Moment::now(), &parts);
            }
            return;
        };
        let mut metadata = destination.metadata.clone();
        metadata.extend(data.metadata);
        queue.push(SessionEvent::Start(start_body(&SessionStart {
            id: &self.id,
            name: &data.name,
            source: destination.source.as_deref(),
            inputs: &data.inputs,
            metadata: &metadata,
            user_properties: &data.user_properties,
        })));
    }

    /// Records a span with the session's attributes and the given parts.
    fn record_span(&self, name: &'static str, began: Moment, parts: &Map<String, Value>) {
        let names = self.lane.destination.names;
        let mut attributes = self.stamp.attributes.clone();
        let mut cut = 0;
        for part in DataPart::ALL {
            if let Some(value) = parts.get(part.name()) {
                cut += flatten(&names.session_part(part), value, &mut attributes);
            }
        }
        let duration = parts.get(DURATION).and_then(Value::as_f64);
        attributes.extend(duration.map(|millis| KeyValue::new(names.session_duration(), millis)));
        attributes.extend(cut_values(CUT_VALUES, cut));
        self.lane.record(name, began, attributes);
    }
}

/// Returns the attributes of a session's spans: its id and, without a session API, its data.
fn stamp_attributes(lane: &Lane, id: &Arc<str>, data: &SessionData) -> Vec<KeyValue> {
    let destination = &lane.destination;
    let mut attributes = vec![session_id(lane, id)];
    if destination.sessions.is_some() {
        return attributes;
    }
    let names = destination.names;
    attributes.extend(names.session_auto_create.map(|key| KeyValue::new(key, true)));
    attributes.push(KeyValue::new(names.session_name, data.name.clone()));
    // The binding's metadata is already on every span or on the resource.
    let mut cut = 0;
    for (part, entries) in [
        (DataPart::Metadata, &data.metadata),
        (DataPart::UserProperties, &data.user_properties),
    ] {
        let entries = Value::Object(entries.clone());
        cut += flatten(&names.session_part(part), &entries, &mut attributes);
    }
    attributes.extend(cut_values(SESSION_CUT_VALUES, cut));
    attributes
}

fn session_id(lane: &Lane, id: &Arc<str>) -> KeyValue {
    KeyValue::new(
        lane.destination.names.session_id,
        OtelValue::String(Arc::clone(id).into()),
    )
}

/// Returns the duration as a part of an enrichment.
pub(super) fn duration_part(duration: Duration) -> [(String, Value); 1] {
    [(DURATION.to_owned(), (duration.as_secs_f64() * 1000.0).into())]
}
