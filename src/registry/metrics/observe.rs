//! Metrics about the registry itself, named after OpenTelemetry's conventions for SDK metrics.
//!
//! There are no separate counters: when a reader collects, the ledgers are read once for all
//! instruments. So one reading adds up across instruments like a ledger. An instrument's callback
//! cannot know whether a new collection has begun, so each reading serves each instrument once,
//! while it is fresh.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::instruments::{Component, INSTRUMENTS, Instrument, Kind};
use super::series::{Numbers, Series, Tracer};
use crate::config::Protocol;
use crate::export::{Accounting, SelectorLedger};
use crate::registry::handle::TracerRegistry;
use crate::util::fork::{ForkGuard, ForkLock};

/// Maximum age of a reading that serves another instrument. A reader collects all instruments well
/// within it.
const FRESH: Duration = Duration::from_secs(1);

const MEMORY_LIMIT: &str = "tracer_registry.memory.limit";
const UNROUTED: &str = "tracer_registry.span.unrouted";

impl TracerRegistry {
    /// Registers observable instruments of this registry with a meter: results of spans and session
    /// events by tracer and reason, and memory in use.
    ///
    /// `docs/metrics.md` lists the names, most of them from OpenTelemetry's conventions. Work is
    /// done only when a reader collects: one pass over the ledgers. The first `metrics.max_tracers`
    /// tracers have their own series, named by their selectors and therefore by tenant slugs; the
    /// others share one series. No series contains a key.
    ///
    /// The meter does not keep the registry alive; without the registry it reports nothing.
    /// Callbacks cannot be unregistered, so call this once per provider. Give each registry of a
    /// process a meter with a different name, because their series are otherwise identical.
    pub fn observe(&self, meter: &Meter) {
        let export = self.0.engine.settings();
        let observed = Arc::new(Observed {
            accounting: Arc::downgrade(&self.0.accounting),
            max_tracers: self.0.state.bindings.config().metrics().max_tracers,
            max_queue_size: export.max_queue_size as u64,
            exporter: match export.protocol {
                Protocol::HttpProtobuf => "otlp_http_span_exporter",
                Protocol::HttpJson => "otlp_http_json_span_exporter",
                Protocol::Grpc => "otlp_grpc_span_exporter",
            },
            fork: self.0.engine.fork_guard(),
            latest: ForkLock::default(),
        });
        for (index, instrument) in INSTRUMENTS.iter().enumerate() {
            register(meter, index, instrument, &observed);
        }
        let limit = as_i64(export.max_queue_bytes as u64);
        let there = move || !observed.fork.is_forked_child() && observed.accounting.strong_count() > 0;
        let unrouted = Arc::clone(self.unrouted());
        let unrouted_is_there = there.clone();
        meter
            .u64_observable_counter(UNROUTED)
            .with_unit("{span}")
            .with_description("Spans started outside any scope while no default tracer was available")
            .with_callback(move |to| {
                if unrouted_is_there() {
                    to.observe(unrouted.status().spans, &[]);
                }
            })
            .build();
        meter
            .i64_observable_up_down_counter(MEMORY_LIMIT)
            .with_unit("By")
            .with_description("Limit on the memory of spans and session events of all tracers together")
            .with_callback(move |to| {
                if there() {
                    to.observe(limit, &[]);
                }
            })
            .build();
    }
}

fn register(meter: &Meter, index: usize, instrument: &'static Instrument, observed: &Arc<Observed>) {
    let observed = Arc::clone(observed);
    match instrument.kind {
        Kind::Counter => {
            meter
                .u64_observable_counter(instrument.name)
                .with_unit(instrument.unit)
                .with_description(instrument.description)
                .with_callback(move |to| observed.report(index, instrument, |value, of| to.observe(value, of)))
                .build();
        }
        Kind::UpDownCounter => {
            meter
                .i64_observable_up_down_counter(instrument.name)
                .with_unit(instrument.unit)
                .with_description(instrument.description)
                .with_callback(move |to| observed.report(index, instrument, |value, of| to.observe(as_i64(value), of)))
                .build();
        }
    }
}

fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// State shared by the callbacks of one meter.
struct Observed {
    /// Not the registry: dropping it in a callback would deliver its queued data.
    accounting: Weak<Accounting>,
    max_tracers: usize,
    max_queue_size: u64,
    /// The conventions' name of the exporter in use.
    exporter: &'static str,
    fork: ForkGuard,
    latest: ForkLock<Reading>,
}

/// The result of one pass over the ledgers.
#[derive(Default)]
struct Reading {
    series: Arc<[Series]>,
    at: Option<Instant>,
    /// Bit set of the instruments that reported it.
    reported_by: u32,
}

impl Observed {
    /// Reports the values of an instrument with their attributes.
    fn report(&self, index: usize, instrument: &Instrument, mut to: impl FnMut(u64, &[KeyValue])) {
        // After a fork, a lock that another thread held is never released.
        if self.fork.is_forked_child() {
            return;
        }
        for series in self.series(index).iter() {
            let common = self.attributes(series.tracer.as_ref(), instrument.component);
            for (value, further) in (instrument.points)(&series.numbers) {
                let attributes: Vec<KeyValue> = common.iter().cloned().chain(further).collect();
                to(value, &attributes);
            }
        }
    }

    /// Returns the latest reading. Makes a new one if it is too old or this instrument has already
    /// reported it.
    fn series(&self, index: usize) -> Arc<[Series]> {
        let mut latest = self.latest.lock();
        let Some(accounting) = self.accounting.upgrade() else {
            *latest = Reading::default();
            return Arc::default();
        };
        let mine = 1 << index;
        if latest.reported_by & mine != 0 || latest.at.is_none_or(|at| at.elapsed() > FRESH) {
            *latest = Reading {
                series: self.read(&accounting),
                at: Some(Instant::now()),
                reported_by: 0,
            };
        }
        latest.reported_by |= mine;
        Arc::clone(&latest.series)
    }

    fn read(&self, accounting: &Accounting) -> Arc<[Series]> {
        let (mut series, mut others) = (Vec::new(), None::<Numbers>);
        let (ledgers, evicted) = accounting.all();
        if evicted.names > 0 {
            others = Some(Numbers::of_evicted(&evicted));
        }
        for ledger in ledgers {
            let numbers = self.numbers(&ledger);
            if ledger.metrics.number < self.max_tracers {
                series.push(Series {
                    tracer: Some(Tracer::of(&ledger)),
                    numbers,
                });
            } else {
                others.get_or_insert_default().add(&numbers);
            }
        }
        series.extend(others.map(|numbers| Series { tracer: None, numbers }));
        series.into()
    }

    fn numbers(&self, ledger: &SelectorLedger) -> Numbers {
        let snapshot = ledger.snapshot();
        let tracers = snapshot.lanes as u64;
        Numbers {
            spans: snapshot.ledgers.spans,
            events: snapshot.ledgers.events,
            recorded: snapshot.starts.recorded,
            left_out: snapshot.starts.left_out,
            held_bytes: snapshot.held_bytes as u64,
            tracers,
            queue_capacity: tracers * self.max_queue_size,
        }
    }

    fn attributes(&self, tracer: Option<&Tracer>, component: Component) -> Vec<KeyValue> {
        let kind = match component {
            Component::None => None,
            Component::Processor => Some("tracer_registry::LaneProcessor"),
            Component::Exporter => Some(self.exporter),
        };
        let mut attributes: Vec<KeyValue> = kind
            .into_iter()
            .map(|kind| KeyValue::new("otel.component.type", kind))
            .collect();
        let Some(tracer) = tracer else {
            attributes.push(KeyValue::new("otel.metric.overflow", true));
            return attributes;
        };
        attributes.push(KeyValue::new("otel.component.name", Arc::clone(&tracer.selector)));
        if let (Component::Exporter, Some(server)) = (component, &tracer.server) {
            attributes.push(KeyValue::new("server.address", Arc::clone(&server.address)));
            attributes.push(KeyValue::new("server.port", server.port));
        }
        attributes
    }
}
