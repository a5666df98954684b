//! Effect on other tenants of a key that rotates every second under load. The old key is refused at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use serde::{Deserialize, Serialize};
use tracer_registry::config::{BackendName, Binding, Compression, Export};
use tracer_registry::integrations::RegistryTracer;
use tracer_registry::secret::SecretString;
use tracer_registry::{KeySource, TracerRegistry};

use crate::control::{Ports, Receiver};
use crate::fleet::{BlackHoles, Fleet, Plan};
use crate::job::Job;
use crate::load::{LoadResult, Settle, run_load, warm_up};
use crate::options::Options;
use crate::receiver::ROTATING;
use crate::row::{Row, Target, number};
use crate::{Result, child, ours};

const RATE: u64 = 20_000;
/// Number of tenants; one of them has a rotating key.
const TENANTS: usize = 20;
const EVERY: Duration = Duration::from_secs(1);

/// Result of a load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rotated {
    result: LoadResult,
    rotations: u64,
    /// Lost spans in the ledger.
    lost: u64,
}

pub(crate) fn rows(options: &Options, _: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(10), Duration::from_secs(60));
    // A separate receiver that detects duplicate spans.
    let receiver = Receiver::start()?;
    receiver.ports.detect_duplicates()?;
    let run = |rotate| -> Result<Rotated> {
        let plan = Plan {
            delay: Duration::from_millis(100),
            black_holes: BlackHoles::None,
            ..Plan::sending(TENANTS, receiver.ports)
        };
        child::measure(&Job::Rotation { plan, time, rotate })
    };
    let without = run(false)?;
    let with = run(true)?;
    let arrived = &with.result.received;
    let at = format!("{TENANTS} tenants, {RATE} spans/s for {} s", time.as_secs());
    let note = format!(
        "{} rotations, {} requests refused for an old key, {} spans created; p50 {:.1} ms, without rotation {:.1} ms",
        with.rotations, arrived.refused, with.result.made, arrived.p50_millis, without.result.received.p50_millis
    );
    let row = |what, unit, target| Row::of(what, at.clone(), unit, target);
    let p99 = |of: &Rotated| Some(of.result.received.p99_millis);
    let missing = |of: &Rotated| {
        let arrived = &of.result.received;
        of.lost.max(
            of.result
                .made
                .saturating_sub(arrived.spans.saturating_sub(arrived.duplicates)),
        )
    };
    let nothing = Target::AtMost(0.0);
    Ok(vec![
        row(
            "rotation: p99 from a span's end to its receipt, the other tenants",
            "ms",
            Target::RatioAtMost(1.2),
        )
        .note(note)
        .measured(p99(&with), "ours, no key rotated", p99(&without)),
        row("rotation: spans lost or missing", "spans", nothing).measured(
            Some(number(missing(&with))),
            "ours, no key rotated",
            Some(number(missing(&without))),
        ),
        row("rotation: spans received twice", "spans", nothing).measured(
            Some(number(arrived.duplicates)),
            "ours, no key rotated",
            Some(number(without.result.received.duplicates)),
        ),
    ])
}

pub(crate) fn measure(plan: &Plan, time: Duration, rotate: bool) -> Result<Rotated> {
    let key = Arc::new(AtomicU64::new(0));
    plan.ports.rotate_to(0)?;
    let fleet = Rotating::with(plan, Arc::clone(&key))?;
    warm_up(&fleet, plan, RATE, Settle::Flush);
    let (over, rotations) = (AtomicBool::new(!rotate), AtomicU64::new(0));
    let result = thread::scope(|threads| {
        threads.spawn(|| {
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                let done = rotations.load(Ordering::Relaxed);
                if began.elapsed() < EVERY * u32::try_from(done + 1).unwrap_or(u32::MAX) {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                // The source returns the new key, and the old one is refused at once.
                let new = key.fetch_add(1, Ordering::SeqCst) + 1;
                if let Err(error) = plan.ports.rotate_to(new) {
                    eprintln!("peers: cannot rotate the key: {error}");
                }
                rotations.fetch_add(1, Ordering::Relaxed);
            }
        });
        let result = run_load(&fleet, plan, RATE, time, Settle::Flush);
        over.store(true, Ordering::Relaxed);
        result
    });
    let lost = fleet
        .registry
        .status()
        .tracers
        .iter()
        .map(|tracer| tracer.spans.lost())
        .sum();
    Ok(Rotated {
        result: result?,
        rotations: rotations.into_inner(),
        lost,
    })
}

/// Tracers of which the first one has a rotating key.
struct Rotating {
    registry: TracerRegistry,
    tracers: Vec<RegistryTracer>,
}

impl Rotating {
    fn with(plan: &Plan, key: Arc<AtomicU64>) -> Result<Self> {
        let vault = move |_: &str| Ok(SecretString::from(format!("{ROTATING}{}", key.load(Ordering::SeqCst))));
        let rotating = Binding::new()
            .backend(BackendName::Otlp)
            .endpoint(plan.ports.url())
            .api_key(KeySource::provider("vault", "key"));
        let registry = ours::builder(&plan.ports.url())
            .export(Export {
                compression: Some(Compression::None),
                scheduled_delay: Some(plan.delay),
                ..Export::default()
            })
            .secret_source("vault", vault)
            .tenant(ours::name(0), rotating)
            .build()?;
        let tracers: Result<_> = (0..plan.tracers)
            .map(|at| Ok(registry.tenant(&ours::name(at))?.tracer("peers")))
            .collect();
        Ok(Self {
            tracers: tracers?,
            registry,
        })
    }
}

impl Fleet for Rotating {
    type Tracer = RegistryTracer;

    fn make(plan: &Plan) -> Result<Self> {
        Self::with(plan, Arc::default())
    }

    fn tracers(&self) -> &[RegistryTracer] {
        &self.tracers
    }

    fn flush(&self) {
        drop(self.registry.force_flush(Duration::from_secs(20)));
    }
}

impl Ports {
    /// Starts counting duplicate spans.
    fn detect_duplicates(self) -> Result<()> {
        self.ask("/ids")
    }

    /// Refuses rotating keys with a lower number from now on.
    fn rotate_to(self, key: u64) -> Result<()> {
        self.ask(&format!("/rotate/{key}"))
    }
}
