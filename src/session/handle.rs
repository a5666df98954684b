//! Sessions: groups of spans with an id and metadata of their own, each of exactly one tracer.
//!
//! The id is minted here, so a session can be used at once; its start and its enrichments are sent behind it, in the order in which they
//! were made. Nothing in here waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::state::{Beginning, DURATION, SessionRecord};
use crate::backend::DataPart;
use crate::context::{self, InScope, ScopeGuard};
use crate::tracer::TracerHandle;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

/// A session that is about to be started. Made by [`TracerHandle::session`].
///
/// Values are told as JSON. A number that JSON has no form for is `"NaN"`, `"Infinity"` or `"-Infinity"`, see [`IntoJson`]. A table or list
/// that is nested more than 64 levels deep is null.
#[must_use = "a session begins with `start`"]
pub struct SessionBuilder {
    tracer: TracerHandle,
    id: Option<Uuid>,
    beginning: Beginning,
}

/// A handle of a session. Cheap to clone; works on any thread and in any task, and keeps its tracer.
///
/// Spans made in its scope carry its id. Outside its scope nothing does, unless it [is the default](Self::make_default): a session is
/// not current by being there.
#[derive(Clone)]
pub struct Session {
    record: Arc<SessionRecord>,
    tracer: TracerHandle,
}

/// Something learnt of a session after its start. Only what is given is sent.
///
/// The receiver merges all parts key by key, except `outputs` and `duration`, which it replaces.
///
/// Values are told as JSON. A number that JSON has no form for is `"NaN"`, `"Infinity"` or `"-Infinity"`, see [`IntoJson`]. A table or list
/// that is nested more than 64 levels deep is null. What a null means is the receiver's to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrichment {
    parts: Map<String, Value>,
}

impl TracerHandle {
    /// Starts to build a session: a group of spans with an id and metadata of its own.
    pub fn session(&self, name: impl Into<String>) -> SessionBuilder {
        SessionBuilder {
            tracer: self.clone(),
            id: None,
            beginning: Beginning {
                name: name.into(),
                ..Beginning::default()
            },
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
    pub fn metadata(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.beginning.metadata.insert(key.into(), bounded(value));
        self
    }

    /// One input.
    pub fn input(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.beginning.inputs.insert(key.into(), bounded(value));
        self
    }

    /// One property of the user.
    pub fn user_property(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.beginning.user_properties.insert(key.into(), bounded(value));
        self
    }

    /// Starts the session. Never waits: it is told to the backend in the background, and what fails is in the tracer's ledger.
    ///
    /// Where the backend has no sessions, or the binding says `auto_create`, nothing is called: name, metadata and user properties are on every
    /// span of the session, and inputs, if there are any, on a span of their own called `session.start`.
    pub fn start(self) -> Session {
        let id = self.id.unwrap_or_else(Uuid::new_v4);
        Session {
            record: SessionRecord::start(self.tracer.lane(), id, self.beginning),
            tracer: self.tracer,
        }
    }
}

impl Session {
    /// The session that the current scope is in: what [`scope`](Self::scope) and [`enter`](Self::enter) made current, the session that came
    /// with a request, or that of the trace where each trace is a session.
    pub fn current() -> Option<Self> {
        Self::of_context(&context::current())
    }

    pub(crate) fn of_context(cx: &Context) -> Option<Self> {
        let (owner, session) = context::scope_of(cx)?;
        let record = Arc::clone(&session?.session).downcast::<SessionRecord>();
        Some(Self {
            record: record.ok()?,
            tracer: TracerHandle::of_scope(owner)?,
        })
    }

    /// A session that somebody else started, to go on with.
    pub(crate) fn resume(tracer: &TracerHandle, id: Uuid) -> Self {
        Self {
            record: SessionRecord::resume(tracer.lane(), id),
            tracer: tracer.clone(),
        }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        self.record.id()
    }

    /// The tracer that it is of.
    pub fn tracer(&self) -> &TracerHandle {
        &self.tracer
    }

    /// Runs a future in the session: spans of its tracer made in it carry the session's id. Moves with the future from thread to thread, and
    /// ends with it.
    ///
    /// # Cancel safety
    /// As that of the future.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.context(&context::current()))
    }

    /// Makes this thread run in the session until the guard is dropped. As [`TracerHandle::enter`], the guard stays on its thread:
    ///
    /// ```compile_fail,E0277
    /// # fn demo(session: tracer_registry::Session) {
    /// let entered = session.enter();
    /// std::thread::spawn(move || drop(entered));
    /// # }
    /// ```
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> ScopeGuard {
        context::attach(&self.context(&context::current()))
    }

    /// Makes it the session of all spans of its tracer that are started outside any session, in place of the one that was, until
    /// [`end`](Self::end).
    pub fn make_default(&self) {
        self.tracer.set_default_session(self.record.stamp());
    }

    /// Tells the backend more about the session, after everything told before. Never waits.
    ///
    /// Enrichments that wait behind each other go out in one request, where the backend ends up with the same as if each had been sent by
    /// itself. Each still counts by itself, and one that the backend refuses takes no other with it.
    ///
    /// Where the backend has no sessions, or the binding says `auto_create`, it is a span of its own called `session.enrich`, with the session's
    /// id and what is told as attributes.
    pub fn enrich(&self, enrichment: Enrichment) {
        self.record.enrich(enrichment.parts);
    }

    /// Ends the session: tells its duration, and spans that are started from now on do not carry it, whatever scope of it they are in. The
    /// spans that are open keep it. What is learnt later can still be told by [`enrich`](Self::enrich). A second call does nothing.
    ///
    /// A session that came with a request ends here for this request alone; its duration is told where it was started. The session of a
    /// trace, where each trace is one, stays on the spans of the trace.
    pub fn end(&self) {
        self.record.end();
    }

    pub(crate) fn context(&self, from: &Context) -> Context {
        self.tracer.scope_context(Some(self.record.scope()), from)
    }
}

impl Enrichment {
    /// An enrichment that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One entry of metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metadata, key, value)
    }

    /// One entry of feedback, such as a rating by the user.
    pub fn feedback(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Feedback, key, value)
    }

    /// One metric.
    pub fn metric(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Metrics, key, value)
    }

    /// One entry of configuration, such as the model's name.
    pub fn config(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::Config, key, value)
    }

    /// One property of the user.
    pub fn user_property(self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.entry(DataPart::UserProperties, key, value)
    }

    /// How long the session took, which the backend shows with it.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.parts
            .insert(DURATION.to_owned(), (duration.as_secs_f64() * 1000.0).into());
        self
    }

    /// The outputs, in place of all outputs told earlier. A table; any other value is put into one, as `result`.
    pub fn outputs(mut self, outputs: impl IntoJson) -> Self {
        let outputs = match bounded(outputs) {
            Value::Object(outputs) => outputs,
            other => Map::from_iter([("result".to_owned(), other)]),
        };
        self.parts
            .insert(DataPart::Outputs.name().to_owned(), Value::Object(outputs));
        self
    }

    fn entry(mut self, part: DataPart, key: impl Into<String>, value: impl IntoJson) -> Self {
        let entries = self
            .parts
            .entry(part.name())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(entries) = entries {
            entries.insert(key.into(), bounded(value));
        }
        self
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} of {})", self.id(), self.tracer.selector())
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SessionBuilder({} of {})",
            self.beginning.name,
            self.tracer.selector()
        )
    }
}
