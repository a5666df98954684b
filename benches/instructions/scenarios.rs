//! The scenarios whose instructions are counted.

use std::hint::black_box;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};
use prost::Message as _;
use tracer_registry::config::{Binding, Compression, Export, Pool};
use tracer_registry::ingest::Traces;
use tracer_registry::{KeySource, Selector, TracerHandle, TracerRegistry, trace};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::fixture::{builder, builder_to, ours, ours_with_registry, span, span_of_session, stock};
use crate::{TIMES, measure};

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Name of the functions whose instructions are counted, including their callees.
    pub(crate) counted: &'static str,
    /// Divisor of the count.
    pub(crate) times: u32,
    pub(crate) run: fn(),
}

const fn scenario(name: &'static str, run: fn()) -> Scenario {
    Scenario {
        name,
        counted: "instructions::counted*",
        times: TIMES,
        run,
    }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("look-up", look_up),
    scenario("look-up, peer", look_up_in_map),
    scenario("making a tracer", make),
    scenario("making a tracer, peer", make_provider),
    scenario("span in a scope", || {
        let (a, _) = ours();
        let tracer = a.tracer("bench");
        a.in_span("request", |_| measure(|| span(&tracer)));
    }),
    scenario("span in a scope, peer", || {
        let tracer = stock().tracer("bench");
        let _under = Context::new().with_span(tracer.start("request")).attach();
        measure(|| span(&tracer));
    }),
    scenario("span in a session", || {
        let (a, _) = ours();
        let tracer = a.tracer("bench");
        let session = a.session("bench").start();
        let _in_session = session.enter();
        a.in_span("request", |_| measure(|| span(&tracer)));
    }),
    scenario("span in a session, peer", || {
        let tracer = stock().tracer("bench");
        let (a, _) = ours();
        let session = a.session("bench").start();
        let _under = Context::new().with_span(tracer.start("request")).attach();
        measure(|| span_of_session(&tracer, session.id()));
    }),
    scenario("span in a closure", || {
        let (a, _) = ours();
        a.in_span("request", |_| measure(|| closure(&a)));
    }),
    scenario("span in a closure, peer", closure_of_stock),
    scenario("closure past another tracer", || {
        let (a, b) = ours();
        a.in_span("request", |_| b.in_span("between", |_| measure(|| closure(&a))));
    }),
    scenario("closure past another tracer, peer", closure_of_stock),
    scenario("future in a scope", || {
        let (a, _) = ours();
        let session = a.session("bench").start();
        measure(|| _ = session.scope(async { black_box(1) }).now_or_never());
    }),
    scenario("future in a scope, peer", || {
        let cx = Context::new().with_value(1_u64);
        measure(|| _ = async { black_box(1) }.with_context(cx.clone()).now_or_never());
    }),
    scenario("#[trace]", || {
        let (a, _) = ours();
        a.in_span("request", |_| measure(|| traced(black_box(1))));
    }),
    scenario("#[trace], peer", || {
        let (a, _) = ours();
        a.in_span("request", |_| measure(|| _ = a.in_span("traced", |_| black_box(1_u64))));
    }),
    scenario("span of the tracing crate", || {
        let (registry, a, _) = ours_with_registry();
        let subscriber = tracing_subscriber::registry().with(registry.tracing_layer());
        tracing::subscriber::with_default(subscriber, || a.in_span("request", |_| measure(tracing_span)));
    }),
    scenario("span of the tracing crate, peer", || {
        let tracer = stock().tracer("bench");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer.clone());
        let layer = layer.with_threads(false).with_tracked_inactivity(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _under = Context::new().with_span(tracer.start("request")).attach();
            measure(tracing_span);
        });
    }),
    scenario("enqueue", enqueue),
    scenario("enqueue, peer", enqueue_in_stock),
    scenario("enqueue with a copy", enqueue_with_copy),
    Scenario {
        name: "encode a span",
        counted: "*export::encode::otlp::request*",
        times: 512,
        run: encode,
    },
    Scenario {
        times: TIMES * SPANS,
        ..scenario("check a payload", || {
            let body = body();
            measure(|| drop(black_box(Traces::from_protobuf(body.clone()))));
        })
    },
    Scenario {
        name: "splice a payload",
        counted: "*export::payload::Payload::splice*",
        times: SPANS,
        run: splice,
    },
];

/// Spans of a payload. The counts are for one of them.
const SPANS: u32 = 512;

const NAMES: usize = 1_000;

fn look_up() {
    let registry = builder().build().expect("a valid configuration");
    let names: Vec<String> = (0..NAMES).map(|at| format!("tenant-{at}")).collect();
    let handles: Vec<_> = names
        .iter()
        .map(|name| registry.tenant(name).expect("any tenant"))
        .collect();
    let mut asked = names.iter().cycle();
    measure(|| drop(black_box(registry.tenant(black_box(asked.next().expect("endless"))))));
    drop(handles);
}

fn look_up_in_map() {
    let map: DashMap<String, Arc<u64>> = DashMap::new();
    let names: Vec<String> = (0..NAMES).map(|at| format!("tenant-{at}")).collect();
    for name in &names {
        map.insert(name.clone(), Arc::default());
    }
    let mut asked = names.iter().cycle();
    measure(|| {
        let name = asked.next().expect("endless");
        drop(black_box(
            map.get(black_box(name.as_str())).map(|found| Arc::clone(found.value())),
        ));
    });
}

fn make() {
    let registry = builder()
        .pool(Pool {
            max_tracers: Some(usize::MAX),
            ..Pool::default()
        })
        .build()
        .expect("a valid configuration");
    let mut names = (0..NAMES).map(|at| format!("tenant-{at}"));
    measure(|| drop(black_box(registry.tenant(&names.next().expect("enough")))));
}

fn make_provider() {
    let mut made = Vec::with_capacity(NAMES);
    let provider = || {
        SdkTracerProvider::builder()
            .with_resource(opentelemetry_sdk::Resource::builder_empty().build())
            .with_sampler(opentelemetry_sdk::trace::Sampler::ParentBased(Box::new(
                opentelemetry_sdk::trace::Sampler::AlwaysOn,
            )))
            .with_span_limits(opentelemetry_sdk::trace::SpanLimits::default())
    };
    measure(|| made.push(provider().build().tracer("peers")));
}

fn closure(tracer: &TracerHandle) {
    black_box(tracer.in_span("answer", |span| black_box(span.context()).span().is_recording()));
}

fn closure_of_stock() {
    let tracer = stock().tracer("bench");
    let _under = Context::new().with_span(tracer.start("request")).attach();
    measure(|| {
        black_box(tracer.in_span("answer", |cx| black_box(&cx).span().is_recording()));
    });
}

#[trace]
#[inline(never)]
fn traced(number: u64) {
    black_box(number);
}

fn tracing_span() {
    let span = tracing::info_span!("answer", model = "a-model", tokens = 120, retry = false);
    drop(black_box(span.entered()));
}

/// Size of a queue and a batch that hold all spans, so that nothing is sent while counting.
const QUEUE: usize = 4_096;

fn enqueue() {
    let registry = builder().export(export()).build().expect("a valid configuration");
    let tracer = registry.tenant("a").expect("any tenant").tracer("bench");
    measure(|| span(&tracer));
    std::process::exit(0);
}

/// A span that is queued for its tracer and for the target of its copies.
fn enqueue_with_copy() {
    let target: Selector = "environment:operations".parse().expect("a selector");
    let key = KeySource::provider("fixed", "key");
    let binding = Binding::new().endpoint("http://127.0.0.1:9").api_key(key);
    let builder = builder().tenant("copied", binding.clone().also(&target));
    let builder = builder.environment("operations", binding);
    let registry = builder.export(export()).build().expect("a valid configuration");
    let tracer = registry.tenant("copied").expect("configured").tracer("bench");
    measure(|| span(&tracer));
    std::process::exit(0);
}

fn export() -> Export {
    Export {
        // Compression would take most of the instructions of what is sent.
        compression: Some(Compression::None),
        scheduled_delay: Some(Duration::from_secs(3600)),
        max_export_batch_size: Some(QUEUE),
        max_queue_size: Some(QUEUE),
        ..Export::default()
    }
}

/// An exporter that sends nothing.
#[derive(Debug)]
struct NoopExporter;

impl SpanExporter for NoopExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn enqueue_in_stock() {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(QUEUE)
        .with_scheduled_delay(Duration::from_secs(3600))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(opentelemetry_sdk::Resource::builder_empty().build())
        .with_span_processor(
            BatchSpanProcessor::builder(NoopExporter)
                .with_batch_config(config)
                .build(),
        )
        .build();
    let tracer = provider.tracer("bench");
    measure(|| span(&tracer));
}

fn encode() {
    send(|_, tracer| {
        let tracer = tracer.tracer("bench");
        for _ in 0..512 {
            span(&tracer);
        }
    });
}

/// HoneyHive needs an event type on each span.
fn splice() {
    send(|registry, tracer| {
        let traces = Traces::from_protobuf(body()).expect("a valid request");
        drop(registry.ingest(None, vec![(tracer, traces)]).expect("an empty queue"));
    });
}

/// Queues spans and sends them to a receiver that never answers.
fn send(queue: impl FnOnce(&TracerRegistry, TracerHandle)) {
    // Accepts connections.
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", receiver.local_addr().expect("bound"));
    let registry = builder_to(&endpoint)
        .export(export())
        .build()
        .expect("a valid configuration");
    queue(&registry, registry.tenant("a").expect("any tenant"));
    drop(registry.shutdown(Duration::from_secs(1)));
}

/// Returns a request with spans of 366 bytes, as SDKs write them.
fn body() -> Bytes {
    let attribute = |(key, value): (&str, Value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let text = |text: &str| Value::StringValue(text.to_owned());
    let attributes = [
        ("http.request.method", text("GET")),
        ("url.path", text("/api/users/1234567")),
        ("server.address", text("api.example.com")),
        ("http.response.status_code", Value::IntValue(200)),
        ("gen_ai.request.model", text("gpt-4o-mini-2024-07-18")),
        ("gen_ai.usage.input_tokens", Value::IntValue(1234)),
        ("user_agent.original", text("Mozilla/5.0 (X11; Linux x86_64)")),
    ];
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        parent_span_id: vec![9; 8],
        name: "GET /api/users/{id}".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_100_000_000,
        attributes: attributes.map(attribute).into(),
        status: Some(Status {
            code: 1,
            ..Status::default()
        }),
        flags: 0x101,
        ..Span::default()
    };
    let scope_spans = ScopeSpans {
        spans: vec![span; SPANS as usize],
        ..ScopeSpans::default()
    };
    let resource = Resource {
        attributes: vec![attribute(("service.name", text("api")))],
        ..Resource::default()
    };
    let block = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![block],
    };
    request.encode_to_vec().into()
}
