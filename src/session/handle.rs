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
/// Spans created in its scope carry its id. Holding the handle does not make the session current;
/// spans outside its scope carry it only if it is [the default](Self::make_default).
#[derive(Clone)]
pub struct Session {
    state: Arc<SessionState>,
    tracer: TracerHandle,
}

impl TracerHandle {
    /// Builds a session: a group of spans with its own id and metadata.
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
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets one metadata entry. Overrides the binding's entry of the same key.
    pub fn metadata(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.metadata.insert(key.into(), bounded(value));
        self
    }

    /// Sets one input.
    pub fn input(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.inputs.insert(key.into(), bounded(value));
        self
    }

    /// Sets one user property.
    pub fn user_property(mut self, key: impl Into<String>, value: impl IntoJson) -> Self {
        self.data.user_properties.insert(key.into(), bounded(value));
        self
    }

    /// Starts the session. Never waits: the start is sent in the background, and a failure is
    /// recorded in the tracer's ledger.
    ///
    /// Makes no call if the backend has no session API or the binding sets `auto_create`. Then each
    /// span of the session carries the name, metadata and user properties, and a separate span
    /// `session.start` carries the inputs, if any.
    pub fn start(self) -> Session {
        let id = self.id.unwrap_or_else(new_session_id);
        Session {
            state: SessionState::start(self.tracer.lane(), id, self.data),
            tracer: self.tracer,
        }
    }
}

impl Session {
    /// Returns the session of the current scope. It was entered with [`scope`](Self::scope) or
    /// [`enter`](Self::enter), received with a request, or belongs to the trace if each trace is a
    /// session.
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

    /// Runs a future in the session: spans of its tracer created in it carry the session's id. The
    /// scope moves with the future between threads and ends with it.
    ///
    /// # Cancel safety
    /// Same as the future's.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.context(&context::current()))
    }

    /// Runs this thread in the session until the guard is dropped. Like that of
    /// [`TracerHandle::enter`], the guard cannot leave its thread:
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

    /// Makes this the session of all spans that its tracer starts outside any session, until
    /// [`end`](Self::end). Replaces the previous default.
    pub fn make_default(&self) {
        self.tracer.set_default_session(self.state.stamp());
    }

    /// Sends additional session data, after everything sent before. Never waits.
    ///
    /// Queued enrichments are merged into one request if the backend ends up with the same data.
    /// Each still counts individually, and one that the backend refuses does not affect the others.
    ///
    /// If the backend has no session API or the binding sets `auto_create`, sends a separate span
    /// `session.enrich` with the session's id and the enrichment as attributes.
    pub fn enrich(&self, enrichment: Enrichment) {
        self.state.enrich(enrichment.parts);
    }

    /// Ends the session and sends its duration. Spans started later do not carry it, even in its
    /// scopes; open spans keep it. [`enrich`](Self::enrich) still works afterwards. A second call
    /// does nothing.
    ///
    /// A session received with a request ends for this request only; the process that started it
    /// sends its duration. If each trace is a session, the trace's spans keep it.
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
