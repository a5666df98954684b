//! Metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! Names follow OpenTelemetry's rules for compatibility: `.` becomes `_`, the unit becomes a suffix,
//! counters end with `_total`, and up-down counters are gauges. Names of instruments are unique, so
//! there are no labels for scopes.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use http::HeaderMap;
use http::header::ACCEPT;
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, HistogramDataPoint, Metric, MetricData, ResourceMetrics, ScopeMetrics,
};

/// A format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// Returns the format that a client asks for: OpenMetrics only by its name.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_open_metrics = |entry: &str| {
            let mut parts = entry.split(';').map(str::trim);
            let is_named = parts.next() == Some("application/openmetrics-text");
            is_named && parts.all(|part| !matches!(part, "q=0" | "q=0.0" | "version=0.0.1"))
        };
        if accepted.flat_map(|value| value.split(',')).any(is_open_metrics) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kind of a metric family in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Writes metrics as text. An instrument without a value is left out.
pub(super) fn render(metrics: &ResourceMetrics, format: Format) -> String {
    let mut text = String::new();
    let target = metrics.resource().iter();
    let target: Vec<KeyValue> = target
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    let family = if format == Format::OpenMetrics {
        "# TYPE target info\n# HELP target What is measured\n"
    } else {
        "# HELP target_info What is measured\n# TYPE target_info gauge\n"
    };
    text.push_str(family);
    sample(&mut text, "target_info", target.iter(), None, 1);
    for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
        render_metric(&mut text, metric, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn render_metric(text: &mut String, metric: &Metric, format: Format) {
    match metric.data() {
        AggregatedMetrics::U64(data) => render_data(text, metric, data, format),
        AggregatedMetrics::I64(data) => render_data(text, metric, data, format),
        AggregatedMetrics::F64(data) => {
            if let MetricData::Histogram(histogram) = data {
                let mut points = histogram.data_points().peekable();
                if points.peek().is_some() {
                    let family = head(text, metric, Kind::Histogram, format);
                    points.for_each(|point| render_histogram(text, &family, point));
                }
            }
        }
    }
}

/// Writes the sums and gauges of whole numbers, which are all that the instruments have beside
/// histograms.
fn render_data<T: Copy + Display>(text: &mut String, metric: &Metric, data: &MetricData<T>, format: Format) {
    let MetricData::Sum(sum) = data else { return };
    let mut points = sum.data_points().peekable();
    if points.peek().is_none() {
        return;
    }
    let kind = if sum.is_monotonic() { Kind::Counter } else { Kind::Gauge };
    let mut name = head(text, metric, kind, format);
    if kind == Kind::Counter {
        name.push_str("_total");
    }
    for point in points {
        sample(text, &name, point.attributes(), None, point.value());
    }
}

fn render_histogram(text: &mut String, family: &str, point: &HistogramDataPoint<f64>) {
    let name = format!("{family}_bucket");
    let mut count = 0;
    let bounds = point.bounds().map(Some).chain([None]);
    for (bound, of_bucket) in bounds.zip(point.bucket_counts()) {
        count += of_bucket;
        // As OpenMetrics wants it: `1.0`, not `1`.
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
        sample(text, &name, point.attributes(), Some(&bound), count);
    }
    sample(text, &format!("{family}_count"), point.attributes(), None, count);
    let sum = format!("{:?}", point.sum());
    sample(text, &format!("{family}_sum"), point.attributes(), None, sum);
}

/// Writes the lines before the samples of a metric. Returns its name without `_total`.
fn head(text: &mut String, metric: &Metric, kind: Kind, format: Format) -> String {
    let mut name = metric.name().replace('.', "_");
    let unit = match metric.unit() {
        "By" => "bytes",
        "s" => "seconds",
        _ => "",
    };
    if !unit.is_empty() {
        name.push('_');
        name.push_str(unit);
    }
    let kind_name = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let suffix = if kind == Kind::Counter && format == Format::Prometheus {
        "_total"
    } else {
        ""
    };
    let help = escaped(metric.description(), format == Format::OpenMetrics);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name}{suffix} {help}");
    let _ = writeln!(text, "# TYPE {name}{suffix} {kind_name}");
    if format == Format::OpenMetrics && !unit.is_empty() {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
    name
}

fn sample<'a>(
    text: &mut String,
    name: &str,
    attributes: impl Iterator<Item = &'a KeyValue>,
    bound: Option<&str>,
    value: impl Display,
) {
    text.push_str(name);
    let mut separator = '{';
    let mut label = |text: &mut String, key: &str, value: &str| {
        text.push(separator);
        separator = ',';
        let _ = write!(text, "{key}=\"{}\"", escaped(value, true));
    };
    for attribute in attributes {
        let key = attribute.key.as_str().replace('.', "_");
        label(text, &key, &attribute.value.as_str());
    }
    if let Some(bound) = bound {
        label(text, "le", bound);
    }
    if separator == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn escaped(text: &str, with_quotes: bool) -> Cow<'_, str> {
    let is_special = |c: char| matches!(c, '\\' | '\n') || (with_quotes && c == '"');
    if !text.contains(is_special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if is_special(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::HeaderValue;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
    use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

    use super::*;

    #[derive(Default)]
    struct Rendered(Arc<Mutex<[String; 2]>>);

    impl PushMetricExporter for Rendered {
        async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
            *self.0.lock().expect("no panic") =
                [Format::Prometheus, Format::OpenMetrics].map(|format| render(metrics, format));
            Ok(())
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }

        fn temporality(&self) -> Temporality {
            Temporality::Cumulative
        }
    }

    /// Renders one of each kind of instrument in both formats.
    fn fixture() -> [String; 2] {
        let rendered = Rendered::default();
        let both = Arc::clone(&rendered.0);
        let reader = PeriodicReader::builder(rendered)
            .with_interval(Duration::from_secs(3600))
            .build();
        let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "a \"service\""));
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.build())
            .with_reader(reader)
            .build();
        let meter = provider.meter("test");
        let counter = meter.u64_counter("some.requests").with_unit("{request}");
        let counter = counter.with_description("Lines\nand \\ and \"quotes\"").build();
        counter.add(3, &[KeyValue::new("error.type", "a\\b\n\"c\"")]);
        counter.add(4, &[]);
        let memory = meter.i64_up_down_counter("some.memory").with_unit("By");
        memory
            .with_description("Memory")
            .build()
            .add(-5, &[KeyValue::new("server.port", 80)]);
        let duration = meter.f64_histogram("some.duration").with_unit("s");
        let duration = duration
            .with_description("Time")
            .with_boundaries(vec![0.5, 1.0])
            .build();
        for seconds in [0.25, 0.75, 0.75, 8.0] {
            duration.record(seconds, &[KeyValue::new("a", true)]);
        }
        let unused = meter
            .u64_counter("some.unused")
            .with_description("Without a value")
            .build();
        provider.force_flush().expect("a reader");
        drop(unused);
        both.lock().expect("no panic").clone()
    }

    /// Sorts the samples of each family, because the SDK has no order of series.
    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().collect();
        lines
            .chunk_by_mut(|one, other| one.starts_with("some_requests") && other.starts_with("some_requests"))
            .for_each(<[&str]>::sort_unstable);
        lines
    }

    #[test]
    fn each_kind_of_instrument_has_its_lines_in_prometheus_text() {
        let [text, _] = fixture();
        let expected = r#"# HELP target_info What is measured
# TYPE target_info gauge
target_info{service_name="a \"service\""} 1
# HELP some_requests_total Lines\nand \\ and "quotes"
# TYPE some_requests_total counter
some_requests_total 4
some_requests_total{error_type="a\\b\n\"c\""} 3
# HELP some_memory_bytes Memory
# TYPE some_memory_bytes gauge
some_memory_bytes{server_port="80"} -5
# HELP some_duration_seconds Time
# TYPE some_duration_seconds histogram
some_duration_seconds_bucket{a="true",le="0.5"} 1
some_duration_seconds_bucket{a="true",le="1.0"} 3
some_duration_seconds_bucket{a="true",le="+Inf"} 4
some_duration_seconds_count{a="true"} 4
some_duration_seconds_sum{a="true"} 9.75
"#;
        assert_eq!(sorted(&text), expected.lines().collect::<Vec<_>>());
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn open_metrics_names_families_without_suffix_and_ends_with_a_mark() {
        let [_, text] = fixture();
        let expected = r#"# TYPE target info
# HELP target What is measured
target_info{service_name="a \"service\""} 1
# HELP some_requests Lines\nand \\ and \"quotes\"
# TYPE some_requests counter
some_requests_total 4
some_requests_total{error_type="a\\b\n\"c\""} 3
# HELP some_memory_bytes Memory
# TYPE some_memory_bytes gauge
# UNIT some_memory_bytes bytes
some_memory_bytes{server_port="80"} -5
# HELP some_duration_seconds Time
# TYPE some_duration_seconds histogram
# UNIT some_duration_seconds seconds
some_duration_seconds_bucket{a="true",le="0.5"} 1
some_duration_seconds_bucket{a="true",le="1.0"} 3
some_duration_seconds_bucket{a="true",le="+Inf"} 4
some_duration_seconds_count{a="true"} 4
some_duration_seconds_sum{a="true"} 9.75
# EOF
"#;
        assert_eq!(sorted(&text), expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn open_metrics_is_chosen_only_by_its_name() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Format::of(&headers)
        };
        assert_eq!(Format::of(&HeaderMap::new()), Format::Prometheus);
        for accept in [
            "*/*",
            "text/plain",
            "application/json",
            "application/openmetrics-text;q=0",
        ] {
            assert_eq!(of(accept), Format::Prometheus, "{accept}");
        }
        for accept in [
            "application/openmetrics-text",
            "text/plain;version=0.0.4;q=0.5, application/openmetrics-text; version=1.0.0 ;q=0.6,*/*;q=0.1",
        ] {
            assert_eq!(of(accept), Format::OpenMetrics, "{accept}");
        }
    }
}
