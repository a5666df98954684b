//! Instruments of the registry as a whole.

use std::sync::{Arc, Weak};

use opentelemetry::metrics::Meter;

use super::instruments::Kind;
use crate::context::Boundary;
use crate::registry::reload::ConfigurationStatus;
use crate::registry::spool::SpoolView;
use crate::registry::state::RegistryState;
use crate::registry::status::{PoolStatus, SpoolHealth};
use crate::registry::unrouted::Unrouted;
use crate::util::fork::ForkGuard;

/// What these instruments observe. Does not keep the registry alive.
#[derive(Clone)]
pub(super) struct Whole {
    pub(super) state: Weak<RegistryState>,
    pub(super) boundary: Arc<Boundary>,
    pub(super) unrouted: Arc<Unrouted>,
    pub(super) spool: SpoolView,
    pub(super) memory_limit: u64,
    pub(super) fork: ForkGuard,
}

struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    kind: Kind,
    value: fn(&Whole, &RegistryState) -> u64,
}

fn pool(state: &RegistryState) -> PoolStatus {
    state.pool.status()
}

fn configuration(state: &RegistryState) -> ConfigurationStatus {
    state.reloads.status()
}

/// Instruments of a registry with a spool.
const OF_SPOOL: [Instrument; 3] = [
    Instrument {
        name: "tracer_registry.spool.usage",
        unit: "By",
        description: "Bytes that data takes on disk",
        kind: Kind::UpDownCounter,
        value: |of, _| of.spool.status().map_or(0, |spool| spool.bytes),
    },
    Instrument {
        name: "tracer_registry.spool.limit",
        unit: "By",
        description: "Limit on the bytes that data takes on disk",
        kind: Kind::UpDownCounter,
        value: |of, _| of.spool.status().map_or(0, |spool| spool.max_bytes),
    },
    Instrument {
        name: "tracer_registry.spool.failing",
        unit: "{spool}",
        description: "1 while the disk or the files of the spool fail, otherwise 0",
        kind: Kind::UpDownCounter,
        value: |of, _| {
            let health = of.spool.status().map(|spool| spool.health);
            u64::from(health == Some(SpoolHealth::Failing))
        },
    },
];

const INSTRUMENTS: [Instrument; 9] = [
    Instrument {
        name: "tracer_registry.memory.limit",
        unit: "By",
        description: "Limit on the memory of spans and session events of all tracers together",
        kind: Kind::UpDownCounter,
        value: |of, _| of.memory_limit,
    },
    Instrument {
        name: "tracer_registry.span.unrouted",
        unit: "{span}",
        description: "Spans started outside any scope while no default tracer was available",
        kind: Kind::Counter,
        value: |of, _| of.unrouted.status().spans,
    },
    Instrument {
        name: "tracer_registry.span.stale_scope",
        unit: "{span}",
        description: "Spans in the scope of a request that ended more than 60 s before",
        kind: Kind::Counter,
        value: |of, _| of.boundary.stale_scope_spans().spans,
    },
    Instrument {
        name: "tracer_registry.pool.limit",
        unit: "{tracer}",
        description: "Limit on the tracers of the pool",
        kind: Kind::UpDownCounter,
        value: |_, state| pool(state).max_tracers as u64,
    },
    Instrument {
        name: "tracer_registry.pool.evicted",
        unit: "{tracer}",
        description: "Tracers evicted because they were idle",
        kind: Kind::Counter,
        value: |_, state| pool(state).evicted,
    },
    Instrument {
        name: "tracer_registry.pool.rejected",
        unit: "{lookup}",
        description: "Look-ups refused because the pool was full",
        kind: Kind::Counter,
        value: |_, state| pool(state).rejected,
    },
    Instrument {
        name: "tracer_registry.pool.grown",
        unit: "{tracer}",
        description: "Tracers created above the limit of the pool",
        kind: Kind::Counter,
        value: |_, state| pool(state).grown,
    },
    Instrument {
        name: "tracer_registry.configuration.failing",
        unit: "{configuration}",
        description: "1 while the running configuration differs from its files because of an error, otherwise 0",
        kind: Kind::UpDownCounter,
        value: |_, state| configuration(state).error.is_some().into(),
    },
    Instrument {
        name: "tracer_registry.configuration.reloads",
        unit: "{reload}",
        description: "Successful reloads of the configuration",
        kind: Kind::Counter,
        value: |_, state| configuration(state).reloads,
    },
];

impl Whole {
    /// Registers the instruments.
    pub(super) fn observe(&self, meter: &Meter) {
        let of_spool: &[Instrument] = if self.spool.status().is_some() { &OF_SPOOL } else { &[] };
        for instrument in INSTRUMENTS.iter().chain(of_spool) {
            let (name, unit, description) = (instrument.name, instrument.unit, instrument.description);
            let of = self.clone();
            let value = move || {
                // After a fork, a lock that another thread held is never released.
                let state = of.state.upgrade().filter(|_| !of.fork.is_forked_child())?;
                Some((instrument.value)(&of, &state))
            };
            match instrument.kind {
                Kind::Counter => {
                    let builder = meter.u64_observable_counter(name).with_unit(unit);
                    let builder = builder.with_description(description);
                    let builder = builder.with_callback(move |to| {
                        if let Some(value) = value() {
                            to.observe(value, &[]);
                        }
                    });
                    builder.build();
                }
                Kind::UpDownCounter => {
                    let builder = meter.i64_observable_up_down_counter(name).with_unit(unit);
                    let builder = builder.with_description(description);
                    let builder = builder.with_callback(move |to| {
                        if let Some(value) = value() {
                            to.observe(i64::try_from(value).unwrap_or(i64::MAX), &[]);
                        }
                    });
                    builder.build();
                }
            }
        }
    }
}
