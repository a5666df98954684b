//! Durations of requests to receivers, recorded only while a meter observes the registry.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::outcome::Outcome;
use crate::ledger::DropReason;

/// Bounds of the buckets, in seconds.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Histograms of the duration of requests, one for each meter.
#[derive(Default)]
pub(crate) struct Durations(ArcSwap<Vec<Histogram<f64>>>);

/// A receiver's server, as metrics name it.
pub(crate) struct Server {
    pub(crate) address: Arc<str>,
    pub(crate) port: i64,
}

impl Durations {
    /// Records requests with a meter from now on.
    pub(crate) fn observe(&self, meter: &Meter) {
        let histogram = meter
            .f64_histogram("otel.sdk.exporter.operation.duration")
            .with_unit("s")
            .with_description("Duration of finished requests, from the first attempt to the outcome")
            .with_boundaries(BUCKETS.to_vec())
            .build();
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(histogram.clone());
            all
        });
    }

    /// Records a finished request to a URL.
    pub(crate) fn record(&self, url: &str, outcome: Outcome, elapsed: Duration) {
        let histograms = self.0.load();
        if histograms.is_empty() {
            return;
        }
        let error = match outcome {
            Outcome::Delivered { .. } => None,
            Outcome::Refused(reason) | Outcome::Dropped(reason) => Some(error_type(reason)),
            Outcome::Faulted => Some("faulted"),
            Outcome::HandedOver => return,
        };
        let mut attributes = Vec::with_capacity(3);
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        attributes.extend(Server::of(url).into_iter().flat_map(Server::into_attributes));
        for histogram in histograms.iter() {
            histogram.record(elapsed.as_secs_f64(), &attributes);
        }
    }
}

impl Server {
    pub(crate) fn of(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let port = url.port_u16().unwrap_or(match url.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        Some(Self {
            address: url.host()?.trim_matches(['[', ']']).into(),
            port: port.into(),
        })
    }

    pub(crate) fn into_attributes(self) -> [KeyValue; 2] {
        [
            KeyValue::new("server.address", self.address),
            KeyValue::new("server.port", self.port),
        ]
    }
}

/// Returns the value of `error.type` for a reason: its name in the ledger, except where the
/// conventions define another one.
pub(crate) fn error_type(reason: DropReason) -> &'static str {
    match reason {
        DropReason::QueueFull => "queue_full",
        DropReason::QueueFullUnauthorized => "queue_full_unauthorized",
        DropReason::QueueFullUnavailable => "queue_full_unavailable",
        DropReason::Unauthorized => "unauthorized",
        DropReason::Refused => "refused",
        DropReason::TooLarge => "too_large",
        DropReason::Rejected => "rejected",
        DropReason::RetriesExhausted => "retries_exhausted",
        DropReason::Encoding => "encoding",
        DropReason::Shutdown => "shutdown",
        DropReason::AfterShutdown => "already_shutdown",
        DropReason::SpoolFull => "spool_full",
        DropReason::SpoolExpired => "spool_expired",
        DropReason::SpoolDamaged => "spool_damaged",
        DropReason::Purged => "purged",
        DropReason::Quota => "quota",
        DropReason::NoTracer => "no_tracer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port() {
        for (url, address, port) in [
            ("http://127.0.0.1:4318/v1/traces", "127.0.0.1", 4318),
            ("https://api.example/opentelemetry/v1/traces", "api.example", 443),
            ("http://collector/v1/traces", "collector", 80),
            ("http://[::1]:4318/v1/traces", "::1", 4318),
        ] {
            let server = Server::of(url).expect(url);
            assert_eq!((&*server.address, server.port), (address, port));
        }
    }
}
