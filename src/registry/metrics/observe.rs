//! The registry's own work as metrics, under the names that OpenTelemetry's conventions have for its SDK.
//!
//! Nothing is counted twice: when a reader asks, the books are read, once for all instruments. So one reading adds up across instruments as
//! it does in a ledger. An instrument's callback cannot know whether another one's reading has begun, so each reading of the books serves
//! each instrument once, while it is fresh.

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

/// How old a reading of the books may be to serve another instrument. A reader asks all of them within far less.
const FRESH: Duration = Duration::from_secs(1);

const MEMORY_LIMIT: &str = "tracer_registry.memory.limit";
const UNROUTED: &str = "tracer_registry.span.unrouted";

impl TracerRegistry {
    /// Reports this registry's own numbers to a meter: what became of spans and session events, by tracer and reason, and memory in use.
    ///
    /// The names, most of them from OpenTelemetry's conventions, are in `docs/metrics.md`. Nothing is done until a reader of the meter's
    /// provider asks; then one pass over the books is made. The first `metrics.max_tracers` tracers that were made have series of their
    /// own, which name them by their selectors, and so by tenants' slugs; the others share one series. No key is in any of it.
    ///
    /// The meter does not keep the registry alive; once it is gone nothing is reported. A callback cannot be taken back, so call this once
    /// for each provider, and give each registry of a process a meter with another name: their series would be the same.
    pub fn observe(&self, meter: &Meter) {
        let export = self.0.engine.settings();
        let observed = Arc::new(Observed {
            books: Arc::downgrade(&self.0.books),
            max_tracers: self.0.state.bindings.config().metrics().max_tracers,
            max_queue_size: export.max_queue_size as u64,
            exporter: match export.protocol {
                Protocol::HttpProtobuf => "otlp_http_span_exporter",
                Protocol::HttpJson => "otlp_http_json_span_exporter",
                Protocol::Grpc => "otlp_grpc_span_exporter",
            },
            fork: self.0.engine.made_in(),
            latest: ForkLock::default(),
        });
        for (index, instrument) in INSTRUMENTS.iter().enumerate() {
            register(meter, index, instrument, &observed);
        }
        let limit = as_i64(export.max_queue_bytes as u64);
        let there = move || !observed.fork.is_forked_child() && observed.books.strong_count() > 0;
        let unrouted = Arc::clone(self.unrouted());
        let unrouted_is_there = there.clone();
        meter
            .u64_observable_counter(UNROUTED)
            .with_unit("{span}")
            .with_description("Spans that were started outside any scope and had no default to go to")
            .with_callback(move |to| {
                if unrouted_is_there() {
                    to.observe(unrouted.status().spans, &[]);
                }
            })
            .build();
        meter
            .i64_observable_up_down_counter(MEMORY_LIMIT)
            .with_unit("By")
            .with_description("What the spans and session events of all tracers together may take")
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

/// What the callbacks of one meter share.
struct Observed {
    /// The books alone: a callback must not hold the registry, whose drop sends what is left.
    books: Weak<Accounting>,
    max_tracers: usize,
    max_queue_size: u64,
    /// What the conventions call our way of sending spans.
    exporter: &'static str,
    fork: ForkGuard,
    latest: ForkLock<Reading>,
}

/// What one pass over the books came to.
#[derive(Default)]
struct Reading {
    series: Arc<[Series]>,
    at: Option<Instant>,
    /// The instruments that reported it, a bit for each.
    reported_by: u32,
}

impl Observed {
    /// Reports an instrument's numbers, each with its attributes.
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

    /// Returns the latest reading, or a new one if that is old or this instrument reported it before.
    fn series(&self, index: usize) -> Arc<[Series]> {
        let mut latest = self.latest.lock();
        let Some(books) = self.books.upgrade() else {
            *latest = Reading::default();
            return Arc::default();
        };
        let mine = 1 << index;
        if latest.reported_by & mine != 0 || latest.at.is_none_or(|at| at.elapsed() > FRESH) {
            *latest = Reading {
                series: self.read(&books),
                at: Some(Instant::now()),
                reported_by: 0,
            };
        }
        latest.reported_by |= mine;
        Arc::clone(&latest.series)
    }

    fn read(&self, books: &Accounting) -> Arc<[Series]> {
        let (mut series, mut others) = (Vec::new(), None::<Numbers>);
        let (accounts, evicted) = books.all();
        if evicted.names > 0 {
            others = Some(Numbers::of_evicted(&evicted));
        }
        for account in accounts {
            let numbers = self.numbers(&account);
            if account.metrics.number < self.max_tracers {
                series.push(Series {
                    tracer: Some(Tracer::of(&account)),
                    numbers,
                });
            } else {
                others.get_or_insert_default().add(&numbers);
            }
        }
        series.extend(others.map(|numbers| Series { tracer: None, numbers }));
        series.into()
    }

    fn numbers(&self, account: &SelectorLedger) -> Numbers {
        let books = account.snapshot();
        // After the books: every span whose end is in them has its start counted.
        let starts = account.starts();
        let tracers = books.lanes as u64;
        Numbers {
            spans: books.ledgers.spans,
            events: books.ledgers.events,
            recorded: starts.recorded(),
            left_out: starts.left_out(),
            held_bytes: books.held_bytes as u64,
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
