//! Description of a call, built from the options of its attribute.

use std::borrow::Cow;

use super::counts::count_failed;
use super::option_types::{NameOption, SessionOption, TracerOption};
use crate::backend::EventType;
use crate::integrations::global::with_global_registry;
use crate::registry::TracerRegistry;
use crate::selector::SelectorBuilder;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// A call of a traced function, as its options describe it.
pub struct Call {
    pub(super) name: Cow<'static, str>,
    pub(super) event_type: Option<EventType>,
    pub(super) tracer: TracerChoice,
    pub(super) session: Option<Session>,
}

/// The tracer of a call.
pub(super) enum TracerChoice {
    /// The tracer of the current scope.
    FromScope,
    Named(TracerHandle),
    /// An option names a tracer that cannot be resolved.
    Failed,
}

impl Call {
    /// Creates a call with this span name and the tracer of the current scope.
    pub fn new<N: NameOption>(name: N) -> Self {
        Self {
            name: name.into(),
            event_type: None,
            tracer: TracerChoice::FromScope,
            session: None,
        }
    }

    /// Sets the event type.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets the tracer.
    pub fn tracer<T: TracerOption>(self, tracer: &T) -> Self {
        let tracer = tracer.tracer();
        self.with_tracer(tracer)
    }

    /// Sets the tracer by a look-up. Default registry: the installed one.
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
        self.with_tracer(match found {
            Some(found) => found.map_err(|error| error.to_string()),
            None => Err("no `registry` option, and no global registry is installed".to_owned()),
        })
    }

    /// Sets the session.
    pub fn session<S: SessionOption>(mut self, session: &S) -> Self {
        self.session = session.session();
        self
    }

    fn with_tracer(mut self, tracer: Result<TracerHandle, String>) -> Self {
        self.tracer = match tracer {
            Ok(tracer) => TracerChoice::Named(tracer),
            Err(reason) => {
                count_failed(&self.name, &reason);
                TracerChoice::Failed
            }
        };
        self
    }
}

fn selector(environment: Option<&str>, feature: Option<&str>, tenant: Option<&str>) -> SelectorBuilder {
    let mut selector = SelectorBuilder::default();
    if let Some(name) = environment {
        selector = selector.environment(name);
    }
    if let Some(name) = feature {
        selector = selector.feature(name);
    }
    if let Some(name) = tenant {
        selector = selector.tenant(name);
    }
    selector
}
