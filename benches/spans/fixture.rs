//! Tracers of this crate and of the stock SDK that drop their spans at the end. Shared by the
//! benches of spans and instructions.

use std::hint::black_box;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanLimits, SpanProcessor};
use tracer_registry::config::Binding;
use tracer_registry::{KeySource, RegistryBuilder, TracerHandle, TracerRegistry};

/// A processor that drops every span.
#[derive(Debug)]
struct DropProcessor;

impl SpanProcessor for DropProcessor {
    fn on_start(&self, _span: &mut Span, _cx: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        drop(black_box(span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

pub(crate) fn stock() -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_limits(SpanLimits::default())
        .with_span_processor(DropProcessor)
        .build()
}

/// Returns two tracers of a registry that was shut down. They count and drop each span.
pub(crate) fn ours() -> (TracerHandle, TracerHandle) {
    let (_, a, b) = ours_with_registry();
    (a, b)
}

pub(crate) fn ours_with_registry() -> (TracerRegistry, TracerHandle, TracerHandle) {
    let registry = builder().build().expect("a valid configuration");
    let (a, b) = (registry.tenant("a"), registry.tenant("b"));
    assert!(registry.shutdown(Duration::ZERO).is_complete());
    (registry, a.expect("configured"), b.expect("configured"))
}

/// Returns a builder whose tenants all have the same key, from memory, and an endpoint that refuses
/// connections.
pub(crate) fn builder() -> RegistryBuilder {
    builder_to("http://127.0.0.1:9")
}

pub(crate) fn builder_to(endpoint: &str) -> RegistryBuilder {
    TracerRegistry::builder()
        .secret_source("fixed", |_: &str| Ok("a key".into()))
        .tenant(
            "*",
            Binding::new()
                .endpoint(endpoint)
                .api_key(KeySource::provider("fixed", "key")),
        )
}

pub(crate) fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.request.model", "a-model"),
        KeyValue::new("gen_ai.usage.input_tokens", 120),
        KeyValue::new("retry", false),
    ]
}

/// Starts and ends a span with four attributes.
pub(crate) fn span<T: Tracer>(tracer: &T) {
    let builder = tracer.span_builder("answer").with_attributes(attributes());
    builder.start(tracer).end();
}

/// Like [`span`], with a session's attribute set manually.
pub(crate) fn span_of_session(tracer: &SdkTracer, session: &str) {
    let mut all = Vec::with_capacity(8);
    all.push(KeyValue::new("honeyhive.session_id", session.to_owned()));
    all.extend(attributes());
    tracer.span_builder("answer").with_attributes(all).start(tracer).end();
}
