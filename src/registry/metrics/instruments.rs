//! The instruments, and what each reports of a series.

use opentelemetry::KeyValue;

use super::series::Numbers;
use crate::ledger::{DropReason, Ledger};

/// One instrument.
pub(super) struct Instrument {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    pub(super) component: Component,
    pub(super) points: fn(&Numbers) -> Vec<Point>,
}

/// A number, and the attribute that it has beside those of its series.
pub(super) type Point = (u64, Option<KeyValue>);

pub(super) enum Kind {
    /// Only ever grows.
    Counter,
    UpDownCounter,
}

/// What part of an SDK an instrument is about.
#[derive(Clone, Copy)]
pub(super) enum Component {
    None,
    Processor,
    Exporter,
}

/// The first ones as in OpenTelemetry's conventions, the others for what those have no names for.
pub(super) const INSTRUMENTS: [Instrument; 12] = [
    Instrument {
        name: "otel.sdk.span.started",
        unit: "{span}",
        description: "Spans that were started, recorded or not",
        kind: Kind::Counter,
        component: Component::None,
        points: |of| vec![sampled("RECORD_AND_SAMPLE", of.recorded), sampled("DROP", of.left_out)],
    },
    Instrument {
        name: "otel.sdk.span.live",
        unit: "{span}",
        description: "Spans that are recorded and have not ended",
        kind: Kind::UpDownCounter,
        component: Component::None,
        points: |of| {
            vec![sampled(
                "RECORD_AND_SAMPLE",
                of.recorded.saturating_sub(of.spans.snapshot().accepted),
            )]
        },
    },
    Instrument {
        name: "otel.sdk.processor.span.queue.size",
        unit: "{span}",
        description: "Spans that wait for their request",
        kind: Kind::UpDownCounter,
        component: Component::Processor,
        points: |of| plain(of.spans.queued()),
    },
    Instrument {
        name: "otel.sdk.processor.span.queue.capacity",
        unit: "{span}",
        description: "Spans that may wait, for each tracer that is there",
        kind: Kind::UpDownCounter,
        component: Component::Processor,
        points: |of| plain(of.queue_capacity),
    },
    Instrument {
        name: "otel.sdk.processor.span.processed",
        unit: "{span}",
        description: "Spans that left the queue for a request, or were refused at its door",
        kind: Kind::Counter,
        component: Component::Processor,
        points: |of| {
            let refused = dropped(&of.spans, is_at_the_door);
            let spans = of.spans.snapshot();
            let passed = spans.accepted - spans.queued - sum(&refused);
            [vec![(passed, None)], refused].concat()
        },
    },
    Instrument {
        name: "otel.sdk.exporter.span.inflight",
        unit: "{span}",
        description: "Spans in a request that is under way or waits for its repetition",
        kind: Kind::UpDownCounter,
        component: Component::Exporter,
        points: |of| plain(of.spans.snapshot().in_flight),
    },
    Instrument {
        name: "otel.sdk.exporter.span.exported",
        unit: "{span}",
        description: "Spans that the receiver took, or that were given up",
        kind: Kind::Counter,
        component: Component::Exporter,
        points: |of| settled(&of.spans, |reason| !is_at_the_door(reason)),
    },
    Instrument {
        name: "tracer_registry.session_event.queue.size",
        unit: "{event}",
        description: "Starts and enrichments of sessions that wait for their request",
        kind: Kind::UpDownCounter,
        component: Component::None,
        points: |of| plain(of.events.queued()),
    },
    Instrument {
        name: "tracer_registry.session_event.inflight",
        unit: "{event}",
        description: "Starts and enrichments of sessions in a request that is under way or waits for its repetition",
        kind: Kind::UpDownCounter,
        component: Component::None,
        points: |of| plain(of.events.snapshot().in_flight),
    },
    Instrument {
        name: "tracer_registry.session_event.settled",
        unit: "{event}",
        description: "Starts and enrichments of sessions that the receiver took, or that were dropped",
        kind: Kind::Counter,
        component: Component::None,
        points: |of| settled(&of.events, |_| true),
    },
    Instrument {
        name: "tracer_registry.memory.usage",
        unit: "By",
        description: "What the spans and session events take that are queued and under way, estimated",
        kind: Kind::UpDownCounter,
        component: Component::None,
        points: |of| plain(of.held_bytes),
    },
    Instrument {
        name: "tracer_registry.tracer.count",
        unit: "{tracer}",
        description: "Tracers that are there",
        kind: Kind::UpDownCounter,
        component: Component::None,
        points: |of| plain(of.tracers),
    },
];

fn plain(value: u64) -> Vec<Point> {
    vec![(value, None)]
}

fn sampled(result: &'static str, value: u64) -> Point {
    (value, Some(KeyValue::new("otel.span.sampling_result", result)))
}

/// What was delivered, and what was dropped for some reasons.
fn settled(ledger: &Ledger, of: fn(DropReason) -> bool) -> Vec<Point> {
    [plain(ledger.snapshot().delivered), dropped(ledger, of)].concat()
}

/// What was dropped for some reasons; those that never occurred have no series.
fn dropped(ledger: &Ledger, of: fn(DropReason) -> bool) -> Vec<Point> {
    let dropped = ledger.snapshot().dropped.into_iter();
    dropped
        .filter(|(reason, _)| of(*reason))
        .map(|(reason, count)| (count, Some(KeyValue::new("error.type", error_type(reason)))))
        .collect()
}

fn sum(points: &[Point]) -> u64 {
    points.iter().map(|(count, _)| count).sum()
}

/// Whether a span that is dropped for this reason never came into the queue.
fn is_at_the_door(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::QueueFull
            | DropReason::QueueFullUnauthorized
            | DropReason::QueueFullUnavailable
            | DropReason::AfterShutdown
    )
}

/// As in the ledger, but for the one that the conventions have another name for.
fn error_type(reason: DropReason) -> &'static str {
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
    }
}
