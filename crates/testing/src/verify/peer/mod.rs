//! Runs programs on plain `SdkTracerProvider`s: one per tracer, with its own key, as it is usually
//! built by hand.
//!
//! | feature | implementation |
//! |---|---|
//! | export | the stock `BatchSpanProcessor` and OTLP exporter, with the key in its headers |
//! | session | a baggage entry, copied onto spans at their start by a span processor |
//! | scope of a tracer | none; operations that use the scope name their tracer instead |
//! | moved work | OpenTelemetry's contexts |
//! | headers | OpenTelemetry's propagators |

mod client;
mod processor;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanLimits,
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::error::VerifyError;
use super::program::cast::{Backend, Member};
use super::program::operation::{How, Misname, Program};
use super::program::shrink::without_dedicated;
use super::run::{current, with_entry};
use super::subject::{Active, Flushed, Found, Request, Subject, Work};
use client::Client;
use processor::CopyBaggage;
use tracer_registry::config::SessionMode;
use tracer_registry_collector::LocalCollector;

/// Larger than the spans of one tracer in a round.
const QUEUE: usize = 1 << 16;

/// One provider per member.
pub(super) struct Peer {
    providers: Vec<SdkTracerProvider>,
}

/// A session: an id in the baggage.
#[derive(Clone)]
pub(super) struct PeerSession(String);

/// Returns the cast with the settings of plain providers: sessions as attributes, always
/// propagated.
pub(super) fn cast(members: &[Member]) -> Arc<[Member]> {
    let plain = members.iter().map(|member| Member {
        backend: Backend::Otlp,
        sessions: SessionMode::Explicit,
        takes_sessions: true,
        // No redaction, and no copies.
        has_key_in_vault: true,
        also: Vec::new(),
        ..member.clone()
    });
    plain.collect()
}

/// Returns the program without dedicated tracers, which plain providers do not have.
pub(super) fn adapted(program: &Program) -> Program {
    without_dedicated(program)
}

impl Peer {
    /// Creates the providers. Sets every option that environment variables could set otherwise.
    pub(super) fn new(cast: &[Member], collector: &LocalCollector, runtime: &Handle) -> Result<Self, VerifyError> {
        let client = Client::new(runtime.clone());
        let providers = cast.iter().map(|member| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client.for_key(&member.key))
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("{}/v1/traces", collector.url()))
                .with_timeout(Duration::from_secs(60))
                .build()
                .map_err(|error| VerifyError::Peer(error.to_string()))?;
            let batches = BatchConfigBuilder::default()
                .with_max_queue_size(QUEUE)
                .with_max_export_batch_size(512)
                .with_scheduled_delay(Duration::from_millis(50))
                .build();
            let source = KeyValue::new("deployment.environment.name", member.source.clone());
            Ok(SdkTracerProvider::builder()
                .with_resource(Resource::builder_empty().with_attribute(source).build())
                .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
                .with_span_limits(SpanLimits::default())
                .with_span_processor(CopyBaggage)
                .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
                .build())
        });
        Ok(Self {
            providers: providers.collect::<Result<_, VerifyError>>()?,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for provider in &self.providers {
            // Everything was flushed and checked before.
            drop(provider.shutdown());
        }
    }
}

impl PeerSession {
    fn context(&self) -> Context {
        with_entry(KeyValue::new("session.id", self.0.clone()))
    }
}

impl Subject for Peer {
    type Tracer = SdkTracer;
    type Span = Span;
    type Session = PeerSession;
    type Captured = Context;
    type Guard = ContextGuard;

    const REPORTS_SESSIONS: bool = false;

    fn tracer(&self, member: usize) -> Found<SdkTracer> {
        Found::only(self.providers[member].tracer("peer"))
    }

    fn dedicated(&self, member: usize) -> Found<SdkTracer> {
        self.tracer(member)
    }

    fn misname(&self, _member: usize, _how: Misname) -> Option<String> {
        None
    }

    fn span_sync(&self, _how: How, tracer: &SdkTracer, name: String, body: impl FnOnce(Active)) {
        tracer.in_span(name, |cx| body(Active::Context(cx)));
    }

    fn span<F: Future<Output = ()> + Send + 'static>(
        &self,
        _how: How,
        tracer: &SdkTracer,
        name: String,
        body: impl FnOnce(Active) -> F + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        let cx = current().with_span(tracer.start(name));
        let inside = cx.clone();
        let ended = cx.clone();
        let future = async move {
            body(Active::Context(inside)).await;
            ended.span().end();
        };
        future.with_context(cx).boxed()
    }

    fn request(&self, member: usize, request: Request, body: Work) -> BoxFuture<'static, ()> {
        let tracer = self.tracer(member).tracer;
        let _taken = self.extract(&tracer, &request.headers).attach();
        self.span(How::Closure, &tracer, request.name, body)
    }

    fn unscoped(&self, _by_subscriber: bool, body: impl FnOnce()) {
        body();
    }

    fn unscoped_async(&self, _by_subscriber: bool, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        body
    }

    fn event(&self, name: String) {
        current().span().add_event(name, Vec::new());
    }

    fn start(&self, tracer: &SdkTracer, name: String) -> Span {
        tracer.start(name)
    }

    fn overfull(&self, _tracer: &SdkTracer, work: impl FnOnce()) {
        let _nothing = Context::new().attach();
        work();
    }

    fn enter(&self, _tracer: &SdkTracer) -> ContextGuard {
        current().attach()
    }

    fn scope(&self, _tracer: &SdkTracer, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        body
    }

    fn session(&self, _tracer: &SdkTracer, id: Option<Uuid>, _name: String, _canary: String) -> PeerSession {
        PeerSession(id.unwrap_or_else(Uuid::new_v4).hyphenated().to_string())
    }

    fn session_id(&self, session: &PeerSession) -> String {
        session.0.clone()
    }

    fn enter_session(&self, session: &PeerSession) -> ContextGuard {
        session.context().attach()
    }

    fn session_scope(&self, session: &PeerSession, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        body.with_context(session.context()).boxed()
    }

    fn enrich(&self, _session: &PeerSession, _key: String, _canary: String) {}

    fn end_session(&self, _session: &PeerSession) {}

    fn capture(&self) -> Context {
        current()
    }

    fn enter_captured(&self, captured: &Context) -> ContextGuard {
        captured.clone().attach()
    }

    fn captured_scope(&self, captured: &Context, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        body.with_context(captured.clone()).boxed()
    }

    fn captured_stream(&self, captured: &Context, stream: BoxStream<'static, ()>) -> BoxStream<'static, ()> {
        let captured = captured.clone();
        let items = stream::unfold(stream, move |mut stream| {
            let next = async move {
                let item = stream.next().await;
                item.map(|item| (item, stream))
            };
            next.with_context(captured.clone())
        });
        items.boxed()
    }

    fn set_on_current(&self, _tracer: &SdkTracer, key: String, value: String) {
        current().span().set_attribute(KeyValue::new(key, value));
    }

    fn current(&self) -> Option<(Option<usize>, Option<String>)> {
        None
    }

    fn inject(&self, _tracer: &SdkTracer, _by_layer: bool) -> HashMap<String, String> {
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(&current(), &mut headers);
        BaggagePropagator::new().inject_context(&current(), &mut headers);
        headers
    }

    fn extract(&self, _tracer: &SdkTracer, headers: &HashMap<String, String>) -> Context {
        let cx = BaggagePropagator::new().extract_with_context(&current(), headers);
        TraceContextPropagator::new().extract_with_context(&cx, headers)
    }

    fn flush(&self, _timeout: Duration) -> Flushed {
        let failed = self
            .providers
            .iter()
            .filter_map(|provider| provider.force_flush().err());
        let failed: Vec<String> = failed.map(|error| error.to_string()).collect();
        Flushed {
            incomplete: (!failed.is_empty()).then(|| failed.join("; ")),
            ..Flushed::default()
        }
    }
}
