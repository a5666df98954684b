//! Sessions as callers hold them.
//!
//! The id is made here, so a session can be used at once. Its start and its enrichments are sent in the background, in the order in which
//! they were made. Nothing in here waits.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use opentelemetry::Context;
use uuid::Uuid;

use super::enrichment::Enrichment;
use super::state::{Beginning, SessionState};
use crate::backend::new_session_id;
use crate::context::{self, InScope, ScopeGuard};
use crate::tracer::TracerHandle;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

/// A session that is about to be started. Made by [`TracerHandle::session`].
///
/// Values are sent as JSON. A number that JSON has no form for is `"NaN"`, `"Infinity"` or `"-Infinity"`, see [`IntoJson`]. A table or list
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
    state: Arc<SessionState>,
    tracer: TracerHandle,
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
    /// The session's id, in place of a new random UUID.
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

    /// Starts the session. Never waits: its start is sent in the background, and a failure is in the tracer's ledger.
    ///
    /// If the backend has no sessions, or the binding says `auto_create`, nothing is called: name, metadata and user properties are on every
    /// span of the session, and inputs, if there are any, on a span of their own called `session.start`.
    pub fn start(self) -> Session {
        let id = self.id.unwrap_or_else(new_session_id);
        Session {
            state: SessionState::start(self.tracer.lane(), id, self.beginning),
            tracer: self.tracer,
        }
    }
}

impl Session {
    /// Returns the session of the current scope: what [`scope`](Self::scope) and [`enter`](Self::enter) made current, the session that came
    /// with a request, or that of the trace if each trace is a session.
    pub fn current() -> Option<Self> {
        Self::of_context(&context::current())
    }

    pub(crate) fn of_context(cx: &Context) -> Option<Self> {
        let (owner, session) = context::scope_of(cx)?;
        let state = Arc::clone(&session?.session).downcast::<SessionState>();
        Some(Self {
            state: state.ok()?,
            tracer: TracerHandle::of_scope(owner)?,
        })
    }

    /// Goes on with a session that another process started.
    pub(crate) fn resume(tracer: &TracerHandle, id: Uuid) -> Self {
        Self {
            state: SessionState::resume(tracer.lane(), id),
            tracer: tracer.clone(),
        }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        self.state.id()
    }

    /// The session's tracer.
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
        self.tracer.set_default_session(self.state.stamp());
    }

    /// Sends more about the session, after everything that was sent before. Never waits.
    ///
    /// Enrichments that wait behind each other go out in one request if the backend ends up with the same as if each had been sent by
    /// itself. Each still counts by itself, and one that the backend refuses takes no other with it.
    ///
    /// If the backend has no sessions, or the binding says `auto_create`, it is a span of its own called `session.enrich`, with the
    /// session's id and the enrichment as attributes.
    pub fn enrich(&self, enrichment: Enrichment) {
        self.state.enrich(enrichment.parts);
    }

    /// Ends the session: sends its duration, and spans that are started from now on do not carry it, whatever scope of it they are in. Open
    /// spans keep it. What is learnt later can still be sent by [`enrich`](Self::enrich). A second call does nothing.
    ///
    /// A session that came with a request ends here for this request alone; the process that started it sends its duration. The session of
    /// a trace, if each trace is one, stays on the spans of the trace.
    pub fn end(&self) {
        self.state.end();
    }

    pub(crate) fn context(&self, from: &Context) -> Context {
        self.tracer.scope_context(Some(self.state.scope()), from)
    }
}

/// Equal if they have the same id and the same tracer.
impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.tracer == other.tracer && self.id() == other.id()
    }
}

impl Eq for Session {}

impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
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
