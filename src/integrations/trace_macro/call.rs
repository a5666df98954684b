//! A call of a traced function: what its span is called, and whose it is.

use opentelemetry::Context;
use opentelemetry::trace::SpanBuilder;

use super::choice::{SessionOption, TracerOption};
use super::counts::{note_failed, note_unrouted};
use super::life::State;
use crate::backend::EventType;
use crate::context;
use crate::faults::{self, Fault, planted};
use crate::integrations::global::with_global_registry;
use crate::registry::TracerRegistry;
use crate::selector::SelectorBuilder;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// A call of a traced function, as its attribute describes it.
pub struct Call {
    name: &'static str,
    event_type: Option<EventType>,
    choice: Choice,
    session: Option<Session>,
}

/// Whose span a call's is.
enum Choice {
    /// That of the scope it is made in.
    OfScope,
    Tracer(TracerHandle),
    /// One was named, and is not to be had.
    Failed,
}

impl Call {
    /// A call in a span of this name, of the tracer of its scope.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            event_type: None,
            choice: Choice::OfScope,
            session: None,
        }
    }

    /// Says what kind of work it is.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Names its tracer.
    pub fn tracer<T: TracerOption>(self, tracer: &T) -> Self {
        let tracer = tracer.tracer();
        self.chosen(tracer)
    }

    /// Names its tracer by what it is looked up by: environment, feature, tenant. In the registry that is installed, where none is given.
    pub fn look_up(
        self,
        registry: Option<&TracerRegistry>,
        environment: Option<&str>,
        feature: Option<&str>,
        tenant: Option<&str>,
    ) -> Self {
        let look_up = |registry: &TracerRegistry| match (environment, feature, tenant) {
            (Some(name), None, None) => registry.environment(name),
            (None, Some(name), None) => registry.feature(name),
            (None, None, Some(name)) => registry.tenant(name),
            _ => registry.get(selector(environment, feature, tenant)),
        };
        let found = match registry {
            Some(registry) => Some(look_up(registry)),
            None => with_global_registry(look_up),
        };
        self.chosen(match found {
            Some(found) => found.map_err(|error| error.to_string()),
            None => Err("no registry is given, and none is installed".to_owned()),
        })
    }

    /// The session that it is in.
    pub fn session<S: SessionOption>(mut self, session: &S) -> Self {
        self.session = session.session();
        self
    }

    fn chosen(mut self, tracer: Result<TracerHandle, String>) -> Self {
        self.choice = match tracer {
            Ok(tracer) => Choice::Tracer(tracer),
            Err(why) => {
                note_failed(self.name, &why);
                Choice::Failed
            }
        };
        self
    }

    /// Whether a tracer was named that is not to be had.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.choice, Choice::Failed)
    }

    /// Starts its span in a context, where it has a tracer.
    pub(super) fn start(self, from: &Context) -> State {
        let tracer = match self.choice {
            Choice::Failed => return hidden(from),
            Choice::Tracer(tracer) => {
                if planted(Fault::TracedByThread) {
                    faults::set_of_thread(&tracer);
                }
                tracer
            }
            Choice::OfScope => {
                let of_session = self.session.as_ref().map(|session| session.tracer().clone());
                let Some(tracer) = of_session.or_else(|| of_scope(from)) else {
                    if !from.is_telemetry_suppressed() {
                        note_unrouted();
                    }
                    return State::Nothing;
                };
                tracer
            }
        };
        let builder = SpanBuilder::from_name(self.name);
        // A session of another tracer is nothing to this one.
        let session = self.session.filter(|session| session.tracer().same_tracer(&tracer));
        let open = match session {
            Some(session) => tracer.open(builder, &session.context(from)),
            None => tracer.open(builder, from),
        };
        if let Some(event_type) = self.event_type {
            open.span.event_type(event_type);
        }
        State::Open(open)
    }
}

fn of_scope(from: &Context) -> Option<TracerHandle> {
    if planted(Fault::TracedByThread)
        && let Some(named_before) = faults::of_thread::<TracerHandle>()
    {
        return Some(named_before.clone());
    }
    context::scope_of(from).and_then(|(owner, _)| TracerHandle::of_scope(owner))
}

/// Where a call runs that has no tracer though one was named: in no scope. Whatever is traced further in and names no tracer either would
/// else go to that of the caller, or to a default, into somebody else's project.
fn hidden(from: &Context) -> State {
    State::Hidden(context::untraced(from))
}

fn selector(environment: Option<&str>, feature: Option<&str>, tenant: Option<&str>) -> SelectorBuilder {
    let mut parts = SelectorBuilder::default();
    if let Some(name) = environment {
        parts = parts.environment(name);
    }
    if let Some(name) = feature {
        parts = parts.feature(name);
    }
    if let Some(name) = tenant {
        parts = parts.tenant(name);
    }
    parts
}
