//! A call of a traced function, as its attribute describes it.

use std::borrow::Cow;

use super::choice::{NameOption, SessionOption, TracerOption};
use super::counts::note_failed;
use crate::backend::EventType;
use crate::integrations::global::with_global_registry;
use crate::registry::TracerRegistry;
use crate::selector::SelectorBuilder;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// A call of a traced function, as its attribute describes it.
pub struct Call {
    pub(super) name: Cow<'static, str>,
    pub(super) event_type: Option<EventType>,
    pub(super) tracer: TracerChoice,
    pub(super) session: Option<Session>,
}

/// The tracer of a call.
pub(super) enum TracerChoice {
    /// That of the scope in which the function is called.
    OfScope,
    Named(TracerHandle),
    /// An option names one that cannot be resolved.
    Failed,
}

impl Call {
    /// A call in a span of this name, of the tracer of its scope.
    pub fn new<N: NameOption>(name: N) -> Self {
        Self {
            name: name.into(),
            event_type: None,
            tracer: TracerChoice::OfScope,
            session: None,
        }
    }

    /// Sets the kind of work.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets the tracer.
    pub fn tracer<T: TracerOption>(self, tracer: &T) -> Self {
        let tracer = tracer.tracer();
        self.chosen(tracer)
    }

    /// Sets the tracer by a look-up, in the installed registry if none is given.
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

    /// Sets the session.
    pub fn session<S: SessionOption>(mut self, session: &S) -> Self {
        self.session = session.session();
        self
    }

    fn chosen(mut self, tracer: Result<TracerHandle, String>) -> Self {
        self.tracer = match tracer {
            Ok(tracer) => TracerChoice::Named(tracer),
            Err(why) => {
                note_failed(&self.name, &why);
                TracerChoice::Failed
            }
        };
        self
    }
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
