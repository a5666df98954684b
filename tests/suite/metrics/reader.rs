//! Reads a registry's metrics through OpenTelemetry's SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tracer_registry::TracerRegistry;

/// A series: the instrument's name and the attributes.
pub(crate) type SeriesKey = (String, BTreeMap<String, String>);

/// The result of one collection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) values: BTreeMap<SeriesKey, i64>,
    pub(crate) counters: BTreeSet<String>,
    /// Number of values of each series of a histogram.
    pub(crate) histograms: BTreeMap<SeriesKey, u64>,
}

/// A meter provider that stores its last reading.
pub(crate) struct Reader {
    provider: SdkMeterProvider,
    last: Arc<Mutex<Reading>>,
}

struct StoreReading(Arc<Mutex<Reading>>);

impl PushMetricExporter for StoreReading {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        *self.0.lock().expect("no panic") = Reading::of(metrics);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

impl Reader {
    pub(crate) fn of(registry: &TracerRegistry) -> Self {
        let last = Arc::default();
        let reader = PeriodicReader::builder(StoreReading(Arc::clone(&last)))
            .with_interval(Duration::from_secs(3600))
            .build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        registry.observe(&provider.meter("tracer-registry"));
        Self { provider, last }
    }

    pub(crate) fn read(&self) -> Reading {
        *self.last.lock().expect("no panic") = Reading::default();
        self.provider.force_flush().expect("the reader exports");
        self.last.lock().expect("no panic").clone()
    }
}

impl Reading {
    fn of(metrics: &ResourceMetrics) -> Self {
        let mut reading = Self::default();
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            assert!(
                !metric.unit().is_empty() && !metric.description().is_empty(),
                "{metric:?}"
            );
            let name = metric.name().to_owned();
            let key = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
                let attributes = attributes.map(|kv| (kv.key.to_string(), kv.value.to_string()));
                (name.clone(), attributes.collect())
            };
            let points: Vec<(SeriesKey, i64)> = match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    reading.counters.insert(name.clone());
                    let points = sum.data_points();
                    points
                        .map(|point| {
                            (
                                key(&mut point.attributes()),
                                i64::try_from(point.value()).expect("small"),
                            )
                        })
                        .collect()
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    assert!(!sum.is_monotonic());
                    let points = sum.data_points();
                    points
                        .map(|point| (key(&mut point.attributes()), point.value()))
                        .collect()
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    assert_eq!(metric.unit(), "s");
                    for point in histogram.data_points() {
                        let series = key(&mut point.attributes());
                        reading.histograms.insert(series, point.count());
                    }
                    Vec::new()
                }
                other => panic!("{name}: {other:?}"),
            };
            for (key, value) in points {
                assert!(value >= 0, "{key:?}: {value}");
                assert_eq!(
                    reading.values.insert(key.clone(), value),
                    None,
                    "duplicate series: {key:?}"
                );
            }
        }
        reading
    }

    /// Returns the sum over all series of the instrument that match.
    pub(crate) fn sum(&self, instrument: &str, has: impl Fn(&BTreeMap<String, String>) -> bool) -> i64 {
        let points_of_instrument = self.values.iter().filter(|((name, _), _)| name == instrument);
        points_of_instrument
            .filter(|((_, attributes), _)| has(attributes))
            .map(|(_, value)| value)
            .sum()
    }

    pub(crate) fn all(&self, instrument: &str) -> i64 {
        self.sum(instrument, |_| true)
    }

    /// Returns the names of the tracers that have their own series.
    pub(crate) fn named(&self) -> BTreeSet<String> {
        let names = self
            .values
            .keys()
            .filter_map(|(_, attributes)| attributes.get("otel.component.name"));
        names.cloned().collect()
    }
}
