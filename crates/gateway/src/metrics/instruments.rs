//! The gateway's own instruments, observed when a reader collects.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::sources::Sources;
use crate::callers::CallerSnapshot;
use crate::counters::{GatewayStatus, MemoryStatus};
use crate::running::Current;

/// A value and its attributes.
type Point = (u64, Vec<KeyValue>);

enum Kind {
    /// Monotonic.
    Counter,
    UpDownCounter,
}

/// An instrument of the gateway as a whole.
struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    kind: Kind,
    points: fn(&GatewayStatus) -> Vec<Point>,
}

macro_rules! instruments {
    ($($name:literal $unit:literal $kind:ident $description:literal |$of:ident| $points:expr;)*) => {
        [$(Instrument {
            name: $name,
            unit: $unit,
            description: $description,
            kind: Kind::$kind,
            points: |$of| $points,
        }),*]
    };
}

const INSTRUMENTS: [Instrument; 13] = instruments! {
    "http.server.active_requests" "{request}" UpDownCounter
        "Exports of traces and requests to the session API in progress"
        |of| plain(of.requests.running as u64);
    "tracer_registry.gateway.connection.count" "{connection}" UpDownCounter
        "Open connections"
        |of| plain(of.connections.open as u64);
    "tracer_registry.gateway.connection.accepted" "{connection}" Counter
        "Accepted connections"
        |of| plain(of.connections.accepted);
    "tracer_registry.gateway.connection.closed" "{connection}" Counter
        "Connections that the gateway closed, by reason"
        |of| closed(of);
    "tracer_registry.gateway.request.refused" "{request}" Counter
        "Refused requests of any path, by reason"
        |of| of.requests.refused.iter().map(|(kind, count)| (*count, vec![error(kind.name())])).collect();
    "tracer_registry.gateway.request.abandoned" "{request}" Counter
        "Requests that the client gave up before their answer"
        |of| plain(of.requests.abandoned);
    "tracer_registry.gateway.span.accepted" "{span}" Counter
        "Spans queued for their tenants"
        |of| plain(of.requests.spans_accepted);
    "tracer_registry.gateway.span.sampled_out" "{span}" Counter
        "Spans that sampling left out"
        |of| plain(of.requests.spans_sampled_out);
    "tracer_registry.gateway.span.too_large" "{span}" Counter
        "Spans rejected because they are too large"
        |of| plain(of.requests.spans_too_large);
    "tracer_registry.gateway.other_signal" "{request}" Counter
        "Exports of metrics, logs and profiles, by outcome"
        |of| vec![
            (of.other_signals.refused, vec![KeyValue::new("outcome", "refused")]),
            (of.other_signals.discarded, vec![KeyValue::new("outcome", "discarded")]),
        ];
    "tracer_registry.gateway.memory.usage" "By" UpDownCounter
        "Memory that requests in progress have reserved"
        |of| plain(of.memory.used as u64);
    "tracer_registry.gateway.memory.limit" "By" UpDownCounter
        "Limit on the memory of all requests"
        |of| plain(of.memory.limit as u64);
    "tracer_registry.gateway.ready" "{gateway}" UpDownCounter
        "1 while the gateway takes requests, 0 once a shutdown has begun"
        |of| plain(of.ready.into());
};

/// The values of a caller, with the reason of a refusal.
type CallerPoints = fn(&CallerSnapshot) -> Vec<(u64, Option<&'static str>)>;

/// An instrument of each caller.
struct CallerInstrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    points: CallerPoints,
}

const CALLER_INSTRUMENTS: [CallerInstrument; 3] = [
    CallerInstrument {
        name: "tracer_registry.gateway.caller.requests",
        unit: "{request}",
        description: "Accepted requests by caller",
        points: |of| vec![(of.requests, None)],
    },
    CallerInstrument {
        name: "tracer_registry.gateway.caller.spans",
        unit: "{span}",
        description: "Accepted spans by caller",
        points: |of| vec![(of.spans, None)],
    },
    CallerInstrument {
        name: "tracer_registry.gateway.caller.refused",
        unit: "{request}",
        description: "Refused requests by caller and reason",
        points: |of| {
            of.refused
                .iter()
                .map(|(reason, count)| (*count, Some(*reason)))
                .collect()
        },
    },
];

/// Registers the instruments. The first `max_callers` callers by name have series of their own, the
/// others share one.
pub(super) fn observe(meter: &Meter, sources: &Sources, max_callers: usize) {
    for instrument in &INSTRUMENTS {
        let (counters, current) = (Arc::clone(&sources.counters), Arc::clone(&sources.current));
        let points = move || (instrument.points)(&counters.status(memory(&current)));
        match instrument.kind {
            Kind::Counter => {
                let builder = meter.u64_observable_counter(instrument.name);
                let builder = builder
                    .with_unit(instrument.unit)
                    .with_description(instrument.description);
                let report = move |to: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                    for (value, of) in points() {
                        to.observe(value, &of);
                    }
                };
                builder.with_callback(report).build();
            }
            Kind::UpDownCounter => {
                let builder = meter.i64_observable_up_down_counter(instrument.name);
                let builder = builder
                    .with_unit(instrument.unit)
                    .with_description(instrument.description);
                let report = move |to: &dyn opentelemetry::metrics::AsyncInstrument<i64>| {
                    let as_i64 = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                    for (value, of) in points() {
                        to.observe(as_i64(value), &of);
                    }
                };
                builder.with_callback(report).build();
            }
        }
    }
    for instrument in &CALLER_INSTRUMENTS {
        let current = Arc::clone(&sources.current);
        meter
            .u64_observable_counter(instrument.name)
            .with_unit(instrument.unit)
            .with_description(instrument.description)
            .with_callback(move |to| {
                let callers = current.running().callers.snapshot();
                for (value, attributes) in by_caller(&callers, max_callers, instrument.points) {
                    to.observe(value, &attributes);
                }
            })
            .build();
    }
}

fn memory(current: &Current) -> MemoryStatus {
    let budget = current.budget();
    MemoryStatus {
        used: budget.used(),
        limit: budget.limit(),
    }
}

/// Returns the points of the first callers, and the sums of the others.
fn by_caller(callers: &[CallerSnapshot], max_callers: usize, points: CallerPoints) -> Vec<Point> {
    let (named, others) = callers.split_at(max_callers.min(callers.len()));
    let mut all = Vec::new();
    for caller in named {
        let name = KeyValue::new("caller", caller.caller.clone());
        for (value, reason) in points(caller) {
            let reason = reason.map(error).into_iter();
            all.push((value, reason.chain([name.clone()]).collect()));
        }
    }
    let mut sums = std::collections::BTreeMap::<Option<&'static str>, u64>::new();
    for (value, reason) in others.iter().flat_map(points) {
        *sums.entry(reason).or_default() += value;
    }
    let overflow = KeyValue::new("otel.metric.overflow", true);
    all.extend(sums.into_iter().map(|(reason, value)| {
        let reason = reason.map(error).into_iter();
        (value, reason.chain([overflow.clone()]).collect())
    }));
    all
}

fn plain(value: u64) -> Vec<Point> {
    vec![(value, Vec::new())]
}

fn error(reason: &'static str) -> KeyValue {
    KeyValue::new("error.type", reason)
}

fn closed(of: &GatewayStatus) -> Vec<Point> {
    let counts = &of.connections;
    [
        ("over_limit", counts.over_limit),
        ("failed_handshake", counts.failed_handshake),
        ("slow_head", counts.slow_head),
        ("no_memory", counts.no_memory),
        ("idle", counts.idle),
    ]
    .into_iter()
    .map(|(reason, count)| (count, vec![KeyValue::new("reason", reason)]))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, requests: u64, refused: &[(&'static str, u64)]) -> CallerSnapshot {
        CallerSnapshot {
            caller: name.to_owned(),
            requests,
            refused: refused.iter().copied().collect(),
            ..CallerSnapshot::default()
        }
    }

    #[test]
    fn callers_beyond_the_limit_share_series_by_reason() {
        let callers = [
            caller("a", 1, &[("quota", 1)]),
            caller("b", 2, &[("quota", 2)]),
            caller("c", 4, &[("quota", 4), ("no_tenant", 8)]),
        ];
        let text = |instrument: &CallerInstrument, max| {
            let points = by_caller(&callers, max, instrument.points).into_iter();
            let attribute = |of: &KeyValue| format!("{}={}", of.key, of.value);
            let points = points.map(|(value, of)| {
                let attributes: Vec<String> = of.iter().map(attribute).collect();
                format!("{value} {}", attributes.join(" "))
            });
            points.collect::<Vec<_>>()
        };
        let [requests, _, refused] = &CALLER_INSTRUMENTS;
        assert_eq!(text(requests, 1), ["1 caller=a", "6 otel.metric.overflow=true"]);
        assert_eq!(text(requests, 3), ["1 caller=a", "2 caller=b", "4 caller=c"]);
        assert_eq!(
            text(refused, 0),
            [
                "8 error.type=no_tenant otel.metric.overflow=true",
                "7 error.type=quota otel.metric.overflow=true",
            ]
        );
    }
}
