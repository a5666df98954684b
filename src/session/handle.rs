//! Session handles.
//!
//! The id is generated locally, so a session can be used at once. Its start and enrichments are
//! sent in the background, in the order of the calls. No function here waits.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use opentelemetry::Context;
use uuid::Uuid;

use super::enrichment::Enrichment;
use super::state::{SessionData, SessionState};
use crate::backend::new_session_id;
use crate::context::{self, InScope, ScopeGuard};
use crate::tracer::TracerHandle;
use crate::util::json_depth::bounded;
use crate::util::json_number::IntoJson;

/// Builder of a session, from [`TracerHandle::session`].
///
/// Values are sent as JSON. A number without a JSON form becomes `"NaN"`, `"Infinity"` or
/// `"-Infinity"`, see [`IntoJson`]. An object or array nested more than 64 levels deep becomes
/// null.
#[must_use = "call `start` to begin the session"]
pub struct SessionBuilder {
    tracer: TracerHandle,
    id: Option<Uuid>,
    data: SessionData,
}

/// A handle of a session. Cheap to clone, usable on any thread and in any task. Keeps its tracer
/// alive.
///
/// Spans that its tracer starts in the session's [`scope`](Self::scope) carry its id. Other spans
/// carry it only if the session is [the default](Self::make_default).
#[derive(Clone)]
pub struct Session {
    state: Arc<SessionState>,
    tracer: TracerHandle,
}

impl TracerHandle {
    /// Creates a builder for a session: a group of spans with its own id and metadata.
    pub fn session(&self, name: impl Into<String>) -> SessionBuilder {
        SessionBuilder {
            tracer: self.clone(),
            id: None,
            data: SessionData {
                name: name.into(),
                ..SessionData::default()
            },
        }
    }
}

impl SessionBuilder {
    /// Sets the session's id. The default is a new random UUID.
    ///
    /// Handles of one tracer with the same id send their events in the order of the calls.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets one metadata entry. Overrides the binding's entry of the same key.
    pub fn metadata(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.metadata.insert(key.into(), bounded(value));
        self
    }

    /// Sets one input of the session.
    pub fn input(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.inputs.insert(key.into(), bounded(value));
        self
    }

    /// Sets one property of the user.
    pub fn user_property(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.user_properties.insert(key.into(), bounded(value));
        self
    }

    /// Starts the session. Never waits: the start is sent in the background, and a failure is
    /// recorded in the tracer's ledger.
    ///
    /// If the backend has no session API, or the binding has `sessions = "auto_create"`, the start
    /// is sent on spans: each span of the session carries the name, metadata and user properties,
    /// and a separate span `session.start` carries the inputs, if any.
    pub fn start(self) -> Session {
        let id = self.id.unwrap_or_else(new_session_id);
        Session {
            state: SessionState::start(self.tracer.lane(), id, self.data),
            tracer: self.tracer,
        }
    }
}

impl Session {
    /// Returns the session of the current scope: one entered with [`scope`](Self::scope) or
    /// [`enter`](Self::enter), one received with a request, or the trace's session with `sessions =
    /// "per_trace"`.
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

    /// Continues a session started by another process.
    pub(crate) fn resume(tracer: &TracerHandle, id: Uuid) -> Self {
        Self {
            state: SessionState::resume(tracer.lane(), id),
            tracer: tracer.clone(),
        }
    }

    /// Returns the session's id.
    pub fn id(&self) -> &str {
        self.state.id()
    }

    /// Returns the session's tracer.
    pub fn tracer(&self) -> &TracerHandle {
        &self.tracer
    }

    /// Runs a future with this session and its tracer current. Spans that the tracer starts in it
    /// carry the session's id. The scope follows the future between threads, and ends when the
    /// future completes or is dropped.
    ///
    /// # Cancel safety
    /// Same as the future's.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.context(&context::current()))
    }

    /// Makes this session and its tracer current on this thread until the guard is dropped.
    ///
    /// The guard cannot move to another thread:
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

    /// Makes this the default session: spans that its tracer starts outside any session carry it
    /// until its [`end`](Self::end). Replaces the tracer's previous default.
    pub fn make_default(&self) {
        self.tracer.set_default_session(self.state.stamp());
    }

    /// Adds data to the session, after all data sent before. Never waits.
    ///
    /// Consecutive queued enrichments share a request if merging them loses nothing. The ledger
    /// still counts each one. If the backend refuses the shared request, each is sent in its own.
    ///
    /// If the backend has no session API, or the binding has `sessions = "auto_create"`, the data
    /// is sent as attributes of a separate span `session.enrich`.
    pub fn enrich(&self, enrichment: Enrichment) {
        self.state.enrich(enrichment.parts);
    }

    /// Ends the session and sends its duration. Spans started later do not carry it, even in its
    /// scopes; open spans keep it. [`enrich`](Self::enrich) still works afterwards. A second call
    /// does nothing.
    ///
    /// Exceptions:
    /// - A session received with a request ends only for this request. Its duration is sent by the
    ///   process that started it.
    /// - The session of a trace (`sessions = "per_trace"`) stays on all spans of the trace, also on
    ///   those started later.
    pub fn end(&self) {
        self.state.end();
    }

    pub(crate) fn context(&self, from: &Context) -> Context {
        self.tracer.scope_context(Some(self.state.scope()), from)
    }
}

/// Equal if both id and tracer are equal.
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
        write!(f, "SessionBuilder({} of {})", self.data.name, self.tracer.selector())
    }
}
