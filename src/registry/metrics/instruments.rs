//! The instruments, and the points each reports for a series.

use opentelemetry::KeyValue;

use super::series::{Numbers, PROBLEMS};
use crate::export::error_type;
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

/// A value, and an attribute in addition to those of its series.
pub(super) type Point = (u64, Option<KeyValue>);

pub(super) enum Kind {
    /// Monotonic.
    Counter,
    UpDownCounter,
}

/// The SDK component that an instrument describes.
#[derive(Clone, Copy)]
pub(super) enum Component {
    None,
    Processor,
    Exporter,
}

/// Attribute with the name of a rule of redaction, or with what else changed a value.
const RULE: &str = "tracer_registry.rule";

/// Most rules of a tracer with a series of their own.
const MAX_RULES: usize = 16;

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

/// First the names of OpenTelemetry's conventions, then those without a conventional name.
pub(super) const INSTRUMENTS: [Instrument; 18] = instruments! {
    "otel.sdk.span.started" "{span}" Counter None
        "Spans started, recorded or not"
        |of| vec![sampled("RECORD_AND_SAMPLE", of.recorded), sampled("DROP", of.left_out)];
    "otel.sdk.span.live" "{span}" UpDownCounter None
        "Recorded spans that have not ended"
        |of| vec![sampled("RECORD_AND_SAMPLE", of.recorded.saturating_sub(of.spans.accepted_here()))];
    "otel.sdk.processor.span.queue.size" "{span}" UpDownCounter Processor
        "Spans waiting for a request"
        |of| plain(of.spans.queued());
    "otel.sdk.processor.span.queue.capacity" "{span}" UpDownCounter Processor
        "Spans that may wait, summed over the existing tracers"
        |of| plain(of.queue_capacity);
    "otel.sdk.processor.span.processed" "{span}" Counter Processor
        "Spans that left the queue for a request, or were refused by it"
        |of| passed(of);
    "otel.sdk.exporter.span.inflight" "{span}" UpDownCounter Exporter
        "Spans in a request that is in progress or waits for a retry"
        |of| plain(of.spans.snapshot().in_flight);
    "otel.sdk.exporter.span.exported" "{span}" Counter Exporter
        "Spans accepted by the receiver, or dropped after they were queued"
        |of| settled(&of.spans, |reason| !is_refused_at_entry(reason));
    "tracer_registry.session_event.queue.size" "{event}" UpDownCounter None
        "Session starts and enrichments waiting for a request"
        |of| plain(of.events.queued());
    "tracer_registry.session_event.inflight" "{event}" UpDownCounter None
        "Session starts and enrichments in a request that is in progress or waits for a retry"
        |of| plain(of.events.snapshot().in_flight);
    "tracer_registry.session_event.settled" "{event}" Counter None
        "Session starts and enrichments accepted by the receiver, or dropped"
        |of| settled(&of.events, |_| true);
    "tracer_registry.memory.usage" "By" UpDownCounter None
        "Estimated memory of queued and in-flight spans and session events"
        |of| plain(of.held_bytes);
    "tracer_registry.tracer.count" "{tracer}" UpDownCounter None
        "Existing tracers"
        |of| plain(of.tracers);
    "tracer_registry.tracer.failing" "{tracer}" UpDownCounter None
        "Selectors with a problem, by its kind"
        |of| failing(of);
    "tracer_registry.tracer.paused" "{tracer}" UpDownCounter None
        "Paused selectors"
        |of| plain(of.paused);
    "tracer_registry.redacted" "{value}" Counter None
        "Values that redaction changed or dropped, by rule"
        |of| redacted(of);
    "tracer_registry.spool.span.count" "{span}" UpDownCounter None
        "Spans on disk that are not in memory"
        |of| plain(of.spans.snapshot().spooled);
    "tracer_registry.spool.session_event.count" "{event}" UpDownCounter None
        "Session starts and enrichments on disk that are not in memory"
        |of| plain(of.events.snapshot().spooled);
    "tracer_registry.span.recovered" "{span}" Counter None
        "Spans that were found on disk at the start"
        |of| plain(of.spans.snapshot().recovered);
};

/// Number of the last of them that only a registry with a spool has.
pub(super) const OF_SPOOL: usize = 3;

/// Returns the spans that left the queue, and those refused at entry.
fn passed(of: &Numbers) -> Vec<Point> {
    let refused = dropped(&of.spans, is_refused_at_entry);
    let spans = of.spans.snapshot();
    let passed = spans.accepted - spans.queued - spans.spooled - sum(&refused);
    [plain(passed), refused].concat()
}

/// Returns the problems that at least one selector has.
fn failing(of: &Numbers) -> Vec<Point> {
    let problems = PROBLEMS.into_iter().zip(of.failing);
    problems
        .filter(|(_, selectors)| *selectors > 0)
        .map(|(problem, selectors)| (selectors, Some(KeyValue::new("error.type", problem))))
        .collect()
}

/// Returns the values that each of the first rules changed, and the others together. Without
/// redaction there are no points.
fn redacted(of: &Numbers) -> Vec<Point> {
    let status = &of.redaction;
    let named = status.rules.iter().take(MAX_RULES);
    let others = status.rules.values().skip(MAX_RULES).sum();
    let mut points: Vec<Point> = named
        .map(|(rule, count)| (*count, Some(KeyValue::new(RULE, rule.clone()))))
        .collect();
    for (what, count) in [
        ("*", others),
        ("*redactor", status.redactors),
        ("*redactor_panic", status.redactor_panics),
        ("*unreadable", status.unreadable),
    ] {
        if count > 0 {
            points.push((count, Some(KeyValue::new(RULE, what))));
        }
    }
    if of.redacted > 0 {
        points.push((of.redacted, None));
    }
    points
}

fn plain(value: u64) -> Vec<Point> {
    vec![(value, None)]
}

fn sampled(result: &'static str, value: u64) -> Point {
    (value, Some(KeyValue::new("otel.span.sampling_result", result)))
}

/// Returns what was delivered, and what was dropped for the reasons that `of` accepts.
fn settled(ledger: &Ledger, of: fn(DropReason) -> bool) -> Vec<Point> {
    [plain(ledger.snapshot().delivered), dropped(ledger, of)].concat()
}

/// Returns what was dropped for the reasons that `of` accepts. Reasons that never occurred have no
/// series.
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

/// Whether a span dropped for this reason never entered the queue.
fn is_refused_at_entry(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::QueueFull
            | DropReason::QueueFullUnauthorized
            | DropReason::QueueFullUnavailable
            | DropReason::AfterShutdown
            | DropReason::Quota
            | DropReason::NoTracer
            | DropReason::SpoolFull
    )
}
