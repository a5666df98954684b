//! Metrics about the registry itself, named after OpenTelemetry's conventions for SDK metrics.
//!
//! There are no separate counters: when a reader collects, the ledgers are read once for all
//! instruments. So one reading adds up across instruments like a ledger. An instrument's callback
//! cannot know whether a new collection has begun, so each reading serves each instrument once,
//! while it is fresh.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::instruments::{Component, INSTRUMENTS, Instrument, Kind, OF_SPOOL};
use super::series::{Numbers, Series, Tracer};
use super::whole::Whole;
use crate::config::Protocol;
use crate::export::{Accounting, Connections, LaneSummary, Server};
use crate::registry::handle::TracerRegistry;
use crate::util::fork::{ForkGuard, ForkLock};

/// Maximum time between two instruments of one collection. After it, a reading serves no further
/// instrument.
const FRESH: Duration = Duration::from_secs(1);

const ENDPOINTS: &str = "tracer_registry.endpoint.failing";

/// Number of endpoints with series of their own.
const MAX_ENDPOINTS: usize = 100;

impl TracerRegistry {
    /// Registers instruments of this registry with a meter: results of spans and session events by
    /// tracer and reason, problems, durations of requests, memory and pool.
    ///
    /// `docs/metrics.md` lists the names, most of them from OpenTelemetry's conventions. Work is
    /// done only when a reader collects: one pass over the ledgers. The first `metrics.max_tracers`
    /// tracers have their own series, named by their selectors and therefore by tenant slugs; the
    /// others share one series. No series contains a key.
    ///
    /// The meter does not keep the registry alive, but the registry keeps the meter; without the registry it reports nothing.
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
        let spool = self.0.spool_view();
        let without_spool = INSTRUMENTS.len() - OF_SPOOL;
        let instruments = spool.status().map_or(without_spool, |_| INSTRUMENTS.len());
        for (index, instrument) in INSTRUMENTS.iter().enumerate().take(instruments) {
            register(meter, index, instrument, &observed);
        }
        register_endpoints(meter, &observed);
        let whole = Whole {
            state: Arc::downgrade(&self.0.state),
            boundary: Arc::clone(self.0.engine.boundary()),
            unrouted: Arc::clone(self.unrouted()),
            spool,
            memory_limit: export.max_queue_bytes as u64,
            fork: self.0.engine.fork_guard(),
        };
        whole.observe(meter);
        self.0.engine.observe_durations(meter);
    }
}

/// Registers the instrument of endpoints, which reports after all others.
fn register_endpoints(meter: &Meter, observed: &Arc<Observed>) {
    let observed = Arc::clone(observed);
    meter
        .i64_observable_up_down_counter(ENDPOINTS)
        .with_unit("{endpoint}")
        .with_description("Sets of connections to an endpoint with an open breaker")
        .with_callback(move |to| {
            if observed.fork.is_forked_child() {
                return;
            }
            let values = observed.values(INSTRUMENTS.len());
            let (named, others) = values.endpoints.split_at(values.endpoints.len().min(MAX_ENDPOINTS));
            for (origin, open) in named {
                let server = Server::of(origin).map(Server::into_attributes);
                to.observe(*open, server.as_ref().map_or(&[], |attributes| attributes.as_slice()));
            }
            if !others.is_empty() {
                let open = others.iter().map(|(_, open)| open).sum();
                to.observe(open, &[KeyValue::new("otel.metric.overflow", true)]);
            }
        })
        .build();
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
struct Values {
    series: Vec<Series>,
    /// Number of sets of connections with an open breaker, by scheme, host and port.
    endpoints: Vec<(String, i64)>,
}

/// Values that serve each instrument once.
#[derive(Default)]
struct Reading {
    values: Arc<Values>,
    /// When it served the last instrument.
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
        for series in &self.values(index).series {
            let common = self.attributes(series.tracer.as_ref(), instrument.component);
            for (value, further) in (instrument.points)(&series.numbers) {
                let mut attributes: Vec<KeyValue> = common.iter().cloned().chain(further).collect();
                // The SDK keeps a second entry for any other order.
                attributes.sort_unstable_by(|one, other| one.key.cmp(&other.key));
                to(value, &attributes);
            }
        }
    }

    /// Returns the values of the latest reading. Makes a new one if nothing was reported for
    /// [`FRESH`], or if this instrument has already reported it.
    fn values(&self, index: usize) -> Arc<Values> {
        let mut latest = self.latest.lock();
        let Some(accounting) = self.accounting.upgrade() else {
            *latest = Reading::default();
            return Arc::default();
        };
        let mine = 1 << index;
        if latest.reported_by & mine != 0 || latest.at.is_none_or(|at| at.elapsed() > FRESH) {
            *latest = Reading {
                values: Arc::new(self.read(&accounting)),
                ..Reading::default()
            };
        }
        latest.reported_by |= mine;
        latest.at = Some(Instant::now());
        Arc::clone(&latest.values)
    }

    fn read(&self, accounting: &Accounting) -> Values {
        let (mut series, mut others) = (Vec::new(), None::<Numbers>);
        // By address. The connections are kept, so addresses are unique.
        let mut open = BTreeMap::<usize, Arc<Connections>>::new();
        let (ledgers, evicted) = accounting.all();
        if evicted.names > 0 {
            others = Some(Numbers::of_evicted(&evicted));
        }
        for ledger in ledgers {
            let summary = ledger.summary();
            if summary.is_unreachable {
                ledger.each_lane(|lane| {
                    let connections = lane.connections();
                    if connections.breaker.is_open() {
                        open.insert(Arc::as_ptr(connections).addr(), Arc::clone(connections));
                    }
                });
            }
            let mut numbers = self.numbers(&summary);
            numbers.paused = ledger.gate.is_closed().into();
            let entry = ledger.metrics.get();
            if entry.is_some_and(|entry| entry.number < self.max_tracers) {
                series.push(Series {
                    tracer: Some(Tracer::of(&ledger)),
                    numbers,
                });
            } else {
                others.get_or_insert_default().add(&numbers);
            }
        }
        series.extend(others.map(|numbers| Series { tracer: None, numbers }));
        Values {
            series,
            endpoints: count_endpoints(open.values()),
        }
    }

    fn numbers(&self, summary: &LaneSummary) -> Numbers {
        let tracers = summary.lanes as u64;
        Numbers {
            spans: summary.ledgers.spans,
            events: summary.ledgers.events,
            recorded: summary.starts.recorded,
            left_out: summary.starts.left_out,
            held_bytes: summary.held_bytes as u64,
            tracers,
            queue_capacity: tracers * self.max_queue_size,
            paused: 0,
            redaction: summary.redaction.clone(),
            redacted: 0,
            failing: [summary.key_refused, summary.key_failing, summary.open_breakers > 0].map(u64::from),
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

fn count_endpoints<'a>(open: impl Iterator<Item = &'a Arc<Connections>>) -> Vec<(String, i64)> {
    let mut counts = BTreeMap::<String, i64>::new();
    for connections in open {
        *counts.entry(connections.origin().to_owned()).or_default() += 1;
    }
    counts.into_iter().collect()
}
