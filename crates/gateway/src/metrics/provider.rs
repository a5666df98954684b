//! A meter provider with all instruments of a gateway.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Instrument, InstrumentKind, PeriodicReader, SdkMeterProvider, Stream};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::instruments;
use super::sources::Sources;

/// Limit of the SDK on the series of an instrument. It does not add up the values of observable
/// instruments beyond it.
const DEFAULT_SERIES: usize = 2_000;

/// Instruments with a series for each tracer or caller and reason.
const BY_REASON: [&str; 4] = [
    "otel.sdk.processor.span.processed",
    "otel.sdk.exporter.span.exported",
    "tracer_registry.session_event.settled",
    "tracer_registry.gateway.caller.refused",
];

/// Most values of `error.type` of one tracer or caller, and one series without it.
const REASONS: usize = 16;

/// Most series of a tracer without reasons.
const KINDS: usize = 3;

/// Id of this process.
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0; 16];
    // Without random bytes, instances of one host share an id. It is only a label.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// Starts a provider with one thread. Its exporter gets all metrics at each interval.
pub(super) fn start<E: PushMetricExporter>(sources: &Sources, exporter: E, interval: Duration) -> SdkMeterProvider {
    let max_tracers = sources.registry.config().metrics().max_tracers;
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_reader(reader)
        .with_view(move |instrument: &Instrument| with_series(instrument, max_tracers))
        .build();
    sources.registry.observe(&provider.meter("tracer-registry"));
    let meter = provider.meter("tracer-registry-gateway");
    instruments::observe(&meter, sources, max_tracers);
    #[cfg(feature = "jetstream")]
    super::stream::observe(&meter, sources);
    sources.counters.durations.observe(&meter);
    provider
}

/// Returns the instrument with a limit on series that all of them fit, so that sums are exact.
fn with_series(instrument: &Instrument, max_tracers: usize) -> Option<Stream> {
    if instrument.kind() == InstrumentKind::Histogram {
        return None;
    }
    let of_each = if BY_REASON.contains(&instrument.name()) {
        REASONS
    } else {
        KINDS
    };
    let series = of_each.saturating_mul(max_tracers.saturating_add(2));
    Stream::builder()
        .with_cardinality_limit(series.max(DEFAULT_SERIES))
        .build()
        .ok()
}

/// Describes this process. Empty before: the SDK's own resource reads the environment.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", INSTANCE.as_str()),
        ])
        .build()
}
