//! Instruments of a stream that replicas share. Without `[gateway.stream]` they have no values.

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use tracer_registry_stream::StreamStatus;

use super::sources::Sources;

/// An instrument of this replica's stream.
struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    value: fn(&StreamStatus) -> u64,
}

macro_rules! instruments {
    ($($name:literal $unit:literal $description:literal |$of:ident| $value:expr;)*) => {
        [$(Instrument {
            name: $name,
            unit: $unit,
            description: $description,
            value: |$of| $value,
        }),*]
    };
}

const GAUGES: [Instrument; 9] = instruments! {
    "tracer_registry.stream.connected" "{connection}"
        "1 while the servers can be used, otherwise 0"
        |of| of.server.is_some().into();
    "tracer_registry.stream.partition.count" "{partition}"
        "Partitions that this replica owns"
        |of| of.owned;
    "tracer_registry.stream.held.messages" "{message}"
        "Messages of these partitions that wait or are being sent"
        |of| of.held_messages;
    "tracer_registry.stream.held.items" "{item}"
        "Spans and session events of these messages"
        |of| of.held_items;
    "tracer_registry.stream.held.size" "By"
        "Bytes of these messages"
        |of| of.held_bytes;
    "tracer_registry.stream.parked.selectors" "{selector}"
        "Selectors with parked messages"
        |of| of.parked_selectors;
    "tracer_registry.stream.parked.items" "{item}"
        "Spans and session events of parked messages"
        |of| of.parked_items;
    "tracer_registry.stream.local.items" "{item}"
        "Spans and session events that wait in the local spool for the servers"
        |of| of.local_items;
    "tracer_registry.stream.local.size" "By"
        "Bytes that data takes in the local spool"
        |of| of.local_bytes;
};

const COUNTERS: [Instrument; 2] = instruments! {
    "tracer_registry.stream.published" "{item}"
        "Spans and session events that the servers acknowledged"
        |of| of.published;
    "tracer_registry.stream.withdrawn" "{item}"
        "Spans and session events without an acknowledgement of the servers"
        |of| of.withdrawn;
};

/// Registers the instruments.
pub(super) fn observe(meter: &Meter, sources: &Sources) {
    for instrument in &GAUGES {
        let cluster = Arc::clone(&sources.cluster);
        meter
            .i64_observable_up_down_counter(instrument.name)
            .with_unit(instrument.unit)
            .with_description(instrument.description)
            .with_callback(move |to| {
                if let Some(status) = cluster.status() {
                    let value = (instrument.value)(&status);
                    to.observe(i64::try_from(value).unwrap_or(i64::MAX), &[]);
                }
            })
            .build();
    }
    for instrument in &COUNTERS {
        let cluster = Arc::clone(&sources.cluster);
        meter
            .u64_observable_counter(instrument.name)
            .with_unit(instrument.unit)
            .with_description(instrument.description)
            .with_callback(move |to| {
                if let Some(status) = cluster.status() {
                    to.observe((instrument.value)(&status), &[]);
                }
            })
            .build();
    }
}
