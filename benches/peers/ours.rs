//! Tracers of this crate, through its public API.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use tracer_registry::config::{BackendName, Binding, Compression, Export, Pool};
use tracer_registry::integrations::RegistryTracer;
use tracer_registry::{KeySource, RegistryBuilder, TracerRegistry};

use crate::Result;
use crate::fleet::{Fleet, Plan};

/// Environment variable with the key of every tracer.
pub(crate) const KEY_VARIABLE: &str = "TRACER_REGISTRY_PEERS_KEY";
/// Name prefix of tenants that send to a black hole.
const BLACK_HOLE: &str = "hole-";

pub(crate) struct Ours {
    registry: TracerRegistry,
    tracers: Vec<RegistryTracer>,
}

impl Fleet for Ours {
    type Tracer = RegistryTracer;

    fn make(plan: &Plan) -> Result<Self> {
        let mut builder = builder(&plan.ports.url()).export(export(plan));
        let names: Vec<String> = (0..plan.tracers)
            .map(|at| {
                if plan.is_black_hole(at) {
                    format!("{BLACK_HOLE}{at}")
                } else {
                    name(at)
                }
            })
            .collect();
        for hole in names.iter().filter(|name| name.starts_with(BLACK_HOLE)) {
            builder = builder.tenant(hole.clone(), binding().endpoint(plan.ports.black_hole_url()));
        }
        let registry = builder.build()?;
        let tracers: Result<_> = names
            .iter()
            .map(|name| Ok(registry.tenant(name)?.tracer("peers")))
            .collect();
        Ok(Self {
            tracers: tracers?,
            registry,
        })
    }

    fn tracers(&self) -> &[RegistryTracer] {
        &self.tracers
    }

    fn flush(&self) {
        drop(self.registry.force_flush(Duration::from_secs(20)));
    }
}

/// Returns a builder whose registry knows every tenant and has an unlimited pool.
pub(crate) fn builder(url: &str) -> RegistryBuilder {
    let pool = Pool {
        max_tracers: Some(usize::MAX),
        ..Pool::default()
    };
    TracerRegistry::builder()
        .pool(pool)
        .tenant("*", binding().endpoint(url))
}

pub(crate) fn name(at: usize) -> String {
    format!("tenant-{at}")
}

fn binding() -> Binding {
    Binding::new()
        .backend(BackendName::Otlp)
        .api_key(KeySource::env(KEY_VARIABLE))
}

/// Uncompressed, like the stock exporter.
fn export(plan: &Plan) -> Export {
    Export {
        compression: Some(Compression::None),
        scheduled_delay: Some(plan.delay),
        max_export_batch_size: Some(plan.batch),
        max_queue_size: Some(plan.queue),
        ..Export::default()
    }
}
