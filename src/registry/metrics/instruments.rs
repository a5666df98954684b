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

macro_rules! instruments {
    ($($name:literal $unit:literal $kind:ident $component:ident $description:literal |$of:ident| $points:expr;)*) => {
        [$(Instrument {
            name: $name,
            unit: $unit,
            description: $description,
            kind: Kind::$kind,
            component: Component::$component,
            points: |$of| $points,
        }),*]
    };
}

/// The first ones are of OpenTelemetry's conventions, the others have no name there.
pub(super) const INSTRUMENTS: [Instrument; 12] = instruments! {
    "otel.sdk.span.started" "{span}" Counter None
        "Spans that were started, recorded or not"
        |of| vec![sampled("RECORD_AND_SAMPLE", of.recorded), sampled("DROP", of.left_out)];
    "otel.sdk.span.live" "{span}" UpDownCounter None
        "Spans that are recorded and have not ended"
        |of| vec![sampled("RECORD_AND_SAMPLE", of.recorded.saturating_sub(of.spans.snapshot().accepted))];
    "otel.sdk.processor.span.queue.size" "{span}" UpDownCounter Processor
        "Spans that wait for their request"
        |of| plain(of.spans.queued());
    "otel.sdk.processor.span.queue.capacity" "{span}" UpDownCounter Processor
        "Spans that may wait, for each tracer that is there"
        |of| plain(of.queue_capacity);
    "otel.sdk.processor.span.processed" "{span}" Counter Processor
        "Spans that left the queue for a request, or were refused at its door"
        |of| passed(of);
    "otel.sdk.exporter.span.inflight" "{span}" UpDownCounter Exporter
        "Spans in a request that is under way or waits for its repetition"
        |of| plain(of.spans.snapshot().in_flight);
    "otel.sdk.exporter.span.exported" "{span}" Counter Exporter
        "Spans that the receiver took, or that were given up"
        |of| settled(&of.spans, |reason| !is_at_the_door(reason));
    "tracer_registry.session_event.queue.size" "{event}" UpDownCounter None
        "Starts and enrichments of sessions that wait for their request"
        |of| plain(of.events.queued());
    "tracer_registry.session_event.inflight" "{event}" UpDownCounter None
        "Starts and enrichments of sessions in a request that is under way or waits for its repetition"
        |of| plain(of.events.snapshot().in_flight);
    "tracer_registry.session_event.settled" "{event}" Counter None
        "Starts and enrichments of sessions that the receiver took, or that were dropped"
        |of| settled(&of.events, |_| true);
    "tracer_registry.memory.usage" "By" UpDownCounter None
        "What the spans and session events take that are queued and under way, estimated"
        |of| plain(of.held_bytes);
    "tracer_registry.tracer.count" "{tracer}" UpDownCounter None
        "Tracers that are there"
        |of| plain(of.tracers);
};

/// What passed the queue, and what was refused at its door.
fn passed(of: &Numbers) -> Vec<Point> {
    let refused = dropped(&of.spans, is_at_the_door);
    let spans = of.spans.snapshot();
    let passed = spans.accepted - spans.queued - sum(&refused);
    [plain(passed), refused].concat()
}

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
