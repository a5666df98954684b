//! Code that uses the `tracing` crate.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tracing::{Dispatch, Instrument as _, Span, dispatcher};
use tracing_subscriber::layer::SubscriberExt as _;

use tracer_registry::TracerRegistry;

/// A subscriber with a layer of each registry. It is the thread's default only while spans and
/// events are made and spans are closed, because a process may have several runs and its own
/// subscriber.
pub(in super::super) struct Subscriber(Dispatch);

/// A span of the `tracing` crate.
struct Call {
    span: Option<Span>,
    subscriber: Dispatch,
}

impl Subscriber {
    pub(in super::super) fn new(registries: &[TracerRegistry]) -> Self {
        let layers: Vec<_> = registries.iter().map(TracerRegistry::tracing_layer).collect();
        Self(Dispatch::new(tracing_subscriber::registry().with(layers)))
    }

    pub(in super::super) fn in_span(&self, name: &str, body: impl FnOnce()) {
        let call = self.call(name);
        if let Some(span) = &call.span {
            span.in_scope(body);
        }
    }

    /// Makes the span at the call, not at the first poll.
    pub(in super::super) fn in_span_async(&self, name: &str, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let call = self.call(name);
        async move {
            let span = call.span.clone().unwrap_or_else(Span::none);
            body.instrument(span).await;
            drop(call);
        }
        .boxed()
    }

    pub(in super::super) fn event(&self, name: &str) {
        dispatcher::with_default(&self.0, || tracing::info!(target: "third-party", "{name}"));
    }

    fn call(&self, name: &str) -> Call {
        let span = dispatcher::with_default(&self.0, || {
            // The layer ignores spans with the crate's own target.
            tracing::info_span!(target: "third-party", "call", otel.name = name)
        });
        Call {
            span: Some(span),
            subscriber: self.0.clone(),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // A subscriber's registry closes the parent of a span only if it is the thread's default.
        dispatcher::with_default(&self.subscriber, || drop(self.span.take()));
    }
}
