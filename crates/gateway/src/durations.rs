//! Durations of requests, recorded only while something reads them.

use std::time::Instant;

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::answer::RefusalKind;

/// Buckets of OpenTelemetry's convention for the duration of HTTP requests, in seconds.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Histograms of the duration of requests, one for each meter.
#[derive(Debug, Default)]
pub(crate) struct RequestDurations(ArcSwap<Vec<Histogram<f64>>>);

impl RequestDurations {
    /// Records requests with a meter from now on.
    pub(crate) fn observe(&self, meter: &Meter) {
        let histogram = meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Duration of requests from their head to their answer")
            .with_boundaries(BUCKETS.to_vec())
            .build();
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(histogram.clone());
            all
        });
    }

    /// Returns the start of a request, or `None` if no meter observes.
    pub(crate) fn start(&self) -> Option<Instant> {
        (!self.0.load().is_empty()).then(Instant::now)
    }

    /// Records a request. Text of the client becomes no attribute.
    pub(crate) fn record(
        &self,
        start: Option<Instant>,
        route: &'static str,
        method: &Method,
        status: StatusCode,
        refused: Option<RefusalKind>,
    ) {
        let Some(start) = start else { return };
        // In the order of their names, which is the one that the SDK looks up first.
        let attributes = [
            KeyValue::new("error.type", refused.map_or("", RefusalKind::name)),
            KeyValue::new("http.request.method", method_name(method)),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            KeyValue::new("http.route", route),
        ];
        let attributes = &attributes[usize::from(refused.is_none())..];
        let seconds = start.elapsed().as_secs_f64();
        for histogram in self.0.load().iter() {
            histogram.record(seconds, attributes);
        }
    }
}

/// Returns the name of a known method, as OpenTelemetry's conventions want it.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}
