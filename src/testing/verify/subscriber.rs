//! Code that traces by the `tracing` crate.

use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::TracerRegistry;

/// A subscriber with a layer of each registry. It is the default while spans and events are made and at no other time: a process may have
/// several runs, and only one subscriber of its own. A span that was made keeps to it.
pub(super) struct Subscriber(Dispatch);

impl Subscriber {
    pub(super) fn new(registries: &[TracerRegistry]) -> Self {
        let layers: Vec<_> = registries.iter().map(TracerRegistry::tracing_layer).collect();
        Self(Dispatch::new(tracing_subscriber::registry().with(layers)))
    }

    pub(super) fn span(&self, name: &str) -> Span {
        // The crate's own target would be left out.
        dispatcher::with_default(
            &self.0,
            || tracing::info_span!(target: "third-party", "call", otel.name = name),
        )
    }

    pub(super) fn event(&self, name: &str) {
        dispatcher::with_default(&self.0, || tracing::info!(target: "third-party", "{name}"));
    }
}
