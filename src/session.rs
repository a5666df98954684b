//! Sessions: groups of spans with an id and metadata of their own, each of exactly one tracer.
//!
//! The id is minted here, so a session can be used at once; its start and its enrichments are sent behind it, in the order in which they
//! were made. Nothing in here waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::FutureExt as _;
use opentelemetry::{Context, ContextGuard};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backend::{DataPart, Destination, SessionStart, cut_values, enrich_body, flatten, start_body};
use crate::context::{self, SessionStamp};
use crate::export::{Outbox, SessionEvent};
use crate::tracer::{TracerHandle, stamp};

/// The attribute that counts the values of a session's data that were left out of the session's spans, or shortened.
const SESSION_CUT_VALUES: &str = "tracer_registry.session.cut_values";

/// A session that is about to be started. Made by [`TracerHandle::session`].
#[must_use = "a session begins with `start`"]
pub struct SessionBuilder {
    tracer: TracerHandle,
    name: String,
    id: Option<Uuid>,
    inputs: Map<String, Value>,
    metadata: Map<String, Value>,
    user_properties: Map<String, Value>,
}

/// A handle of a session. Cheap to clone; works on any thread and in any task, and keeps its tracer.
///
/// Spans made in its scope carry its id. Outside its scope nothing does: a session is not current by being there.
#[derive(Clone)]
pub struct Session(Arc<Instance>);

struct Instance {
    id: Arc<str>,
    tracer: TracerHandle,
    stamp: SessionStamp,
    outbox: Arc<Outbox>,
}

/// Something learnt of a session after its start. Only what is given is sent.
///
/// The receiver merges all parts key by key, except `outputs`, which it replaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrichment {
    parts: Map<String, Value>,
}

impl TracerHandle {
    /// Starts to build a session: a group of spans with an id and metadata of its own.
    pub fn session(&self, name: impl Into<String>) -> SessionBuilder {
        SessionBuilder {
            tracer: self.clone(),
            name: name.into(),
            id: None,
            inputs: Map::new(),
            metadata: Map::new(),
            user_properties: Map::new(),
        }
    }
}

impl SessionBuilder {
    /// The session's id, where another one than a new random UUID is wanted.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// One entry of metadata, over the binding's of the same key.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// One input.
    pub fn input(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.inputs.insert(key.into(), value.into());
        self
    }

    /// One property of the user.
    pub fn user_property(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.user_properties.insert(key.into(), value.into());
        self
    }

    /// Starts the session. Never waits: it is told to the backend in the background, and what fails is in the tracer's ledger.
    pub fn start(self) -> Session {
        let destination = &self.tracer.lane().destination;
        let id: Arc<str> = self.id.unwrap_or_else(Uuid::new_v4).hyphenated().to_string().into();
        let outbox = Outbox::new(Arc::clone(self.tracer.lane()));
        // The binding's metadata is on every span of backends without sessions already.
        let stamp = session_stamp(destination, &id, &self.metadata);
        if destination.sessions.is_some() {
            let mut metadata = destination.metadata.clone();
            metadata.extend(self.metadata);
            outbox.push(SessionEvent::Start(start_body(&SessionStart {
                id: &id,
                name: &self.name,
                source: destination.source.as_deref(),
                inputs: &self.inputs,
                metadata: &metadata,
                user_properties: &self.user_properties,
            })));
        }
        Session(Arc::new(Instance {
            id,
            stamp,
            outbox,
            tracer: self.tracer,
        }))
    }
}

impl Session {
    /// The session's id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The tracer that it is of.
    pub fn tracer(&self) -> &TracerHandle {
        &self.0.tracer
    }

    /// Runs a future in the session: spans of its tracer made in it carry the session's id. Moves with the future from thread to thread, and
    /// ends with it.
    ///
    /// # Cancel safety
    /// As that of the future.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.with_context(self.context())
    }

    /// Makes this thread run in the session until the guard is dropped, which must happen on the same thread.
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> ContextGuard {
        context::attach(self.context())
    }

    /// Tells the backend more about the session, after everything told before. Never waits.
    ///
    /// A backend without sessions has no place for it: it is counted as dropped ([`DropReason::Unsupported`](crate::DropReason)).
    pub fn enrich(&self, enrichment: Enrichment) {
        if !enrichment.parts.is_empty() {
            self.0
                .outbox
                .push(SessionEvent::Enrich(enrich_body(&self.0.id, enrichment.parts)));
        }
    }

    fn context(&self) -> Context {
        self.0
            .tracer
            .scope_context(Some(Arc::clone(&self.0.stamp)), &context::current())
    }
}

fn session_stamp(destination: &Destination, id: &Arc<str>, metadata: &Map<String, Value>) -> SessionStamp {
    let mut attributes = vec![stamp(destination.spelling.session_id, Arc::clone(id))];
    if destination.sessions.is_none() {
        let prefix = destination.spelling.session_part(DataPart::Metadata);
        let cut = flatten(&prefix, &Value::Object(metadata.clone()), &mut attributes);
        attributes.extend(cut_values(SESSION_CUT_VALUES, cut));
    }
    attributes.into()
}

impl Enrichment {
    /// An enrichment that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One entry of metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entry("metadata", key, value)
    }

    /// One entry of feedback, such as a rating by the user.
    pub fn feedback(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entry("feedback", key, value)
    }

    /// One metric.
    pub fn metric(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entry("metrics", key, value)
    }

    /// One entry of configuration, such as the model's name.
    pub fn config(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entry("config", key, value)
    }

    /// One property of the user.
    pub fn user_property(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entry("user_properties", key, value)
    }

    /// How long the session took, which the backend shows with it.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.parts
            .insert("duration".to_owned(), (duration.as_secs_f64() * 1000.0).into());
        self
    }

    /// The outputs, in place of all outputs told earlier. A table; any other value is put into one, as `result`.
    pub fn outputs(mut self, outputs: impl Into<Value>) -> Self {
        let outputs = match outputs.into() {
            Value::Object(outputs) => outputs,
            other => Map::from_iter([("result".to_owned(), other)]),
        };
        self.parts.insert("outputs".to_owned(), Value::Object(outputs));
        self
    }

    fn entry(mut self, part: &str, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let entries = self.parts.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(entries) = entries {
            entries.insert(key.into(), value.into());
        }
        self
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} of {})", self.0.id, self.0.tracer.selector())
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionBuilder({} of {})", self.name, self.tracer.selector())
    }
}
