//! One provider per tracer, as programs create them without this crate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanLimits, TracerProviderBuilder,
};
use tokio::runtime::Runtime;

use crate::Result;
use crate::client::SharedClient;
use crate::fleet::{Fleet, Plan};

/// The SDK's batch processor, with one shared HTTP client.
pub(crate) struct Stock {
    providers: Vec<SdkTracerProvider>,
    tracers: Vec<SdkTracer>,
    _runtime: Runtime,
}

impl Fleet for Stock {
    type Tracer = SdkTracer;

    fn make(plan: &Plan) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let client: Arc<dyn HttpClient> = Arc::new(SharedClient::new(runtime.handle().clone()));
        let batches = || {
            BatchConfigBuilder::default()
                .with_max_queue_size(plan.queue)
                .with_max_export_batch_size(plan.batch)
                .with_scheduled_delay(plan.delay)
                .build()
        };
        let providers = (0..plan.tracers).map(|at| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(&client))
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(plan.url_of(at))
                .with_timeout(Duration::from_secs(10))
                .with_headers(HashMap::from([(
                    "authorization".to_owned(),
                    format!("Bearer key-{at}"),
                )]))
                .build()?;
            let processor = BatchSpanProcessor::builder(exporter)
                .with_batch_config(batches())
                .build();
            Ok(provider().with_span_processor(processor).build())
        });
        let providers = providers.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            tracers: providers.iter().map(|provider| provider.tracer("peers")).collect(),
            providers,
            _runtime: runtime,
        })
    }

    fn tracers(&self) -> &[SdkTracer] {
        &self.tracers
    }

    fn flush(&self) {
        for provider in &self.providers {
            // The receiver counts only delivered spans.
            drop(provider.force_flush());
        }
    }
}

/// Creates a tracer of a provider without a processor, the minimal tracer.
pub(crate) fn bare() -> SdkTracer {
    provider().build().tracer("peers")
}

/// Sets everything that environment variables could otherwise set.
fn provider() -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_limits(SpanLimits::default())
}
