//! Many tenants, each used once, through a small pool: memory use, and missing spans.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracer_registry::config::{Compression, Export, Pool};
use tracer_registry::status::Status;
use tracer_registry::{LookupError, TracerRegistry};

use crate::control::{Ports, Receiver};
use crate::job::Job;
use crate::options::Options;
use crate::row::{Row, Target, number};
use crate::{Result, child, ours, process};

/// Size of the pool.
const MAX_TRACERS: usize = 1_000;
/// Number of samples taken.
const SAMPLES: usize = 10;

/// State of the process after some of the tenants.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sample {
    tenants: usize,
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    /// Allocated bytes, if they are counted.
    heap_bytes: Option<u64>,
}

/// Result for all tenants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    samples: Vec<Sample>,
    delivered: u64,
    lost: u64,
    evicted: u64,
    rejected: u64,
    names_in_status: usize,
    per_second: f64,
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let tenants = options.pick(50_000, 200_000);
    receiver.ports.reset()?;
    let churn: Churn = child::measure(&Job::Churn {
        ports: receiver.ports,
        tenants,
    })?;
    let arrived = receiver.ports.received()?;
    let at = format!("{tenants} tenants once each, max_tracers = {MAX_TRACERS}");
    let bytes = |sample: Option<&Sample>| sample.and_then(|sample| sample.resident_bytes).map(number);
    let row = |what, unit, target| Row::of(what, at.clone(), unit, target);
    let (first, last) = (churn.samples.first(), churn.samples.last());
    let missing = (tenants as u64).saturating_sub(arrived.spans.min(churn.delivered));
    let threads = last.and_then(|sample| sample.threads).map(number);
    let note = format!(
        "{:.0} tenants/s, {} evicted, {} look-ups refused and retried, {} selectors in the status",
        churn.per_second, churn.evicted, churn.rejected, churn.names_in_status
    );
    let heap = |sample: Option<&Sample>| sample.and_then(|sample| sample.heap_bytes).map(number);
    let mut rows = vec![
        row("churn: memory at the end", "bytes", Target::RatioAtMost(1.1))
            .note(note)
            .measured(bytes(last), "ours after a tenth of the tenants", bytes(first)),
        row("churn: threads of the process", "threads", Target::AtMost(3.0)).measured(threads, "", None),
        row("churn: spans lost or missing", "spans", Target::AtMost(0.0)).measured(
            Some(number(missing + churn.lost)),
            "",
            None,
        ),
    ];
    if heap(last).is_some() {
        let allocated = row("churn: allocated at the end", "bytes", Target::RatioAtMost(1.1));
        rows.push(allocated.measured(heap(last), "ours after a tenth of the tenants", heap(first)));
    }
    Ok(rows)
}

pub(crate) fn measure(ports: Ports, tenants: usize) -> Result<Churn> {
    let registry = ours::builder(&ports.url())
        .pool(Pool {
            max_tracers: Some(MAX_TRACERS),
            ..Pool::default()
        })
        .export(Export {
            compression: Some(Compression::None),
            ..Export::default()
        })
        .build()?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    eprintln!("tenants   resident MiB  allocated MiB  threads  tenants/s  delivered  lost");
    for at in 0..tenants {
        look_up_once(&registry, at)?;
        if (at + 1).is_multiple_of(tenants / SAMPLES) {
            let sample = Sample {
                tenants: at + 1,
                resident_bytes: process::resident_bytes(),
                threads: process::threads(),
                heap_bytes: heap_bytes(),
            };
            show(&sample, begun, &registry.status());
            samples.push(sample);
        }
    }
    let per_second = number(tenants as u64) / begun.elapsed().as_secs_f64();
    drop(registry.force_flush(Duration::from_secs(60)));
    let status = registry.status();
    let [delivered, lost] = sums(&status);
    Ok(Churn {
        samples,
        delivered,
        lost,
        evicted: status.pool.evicted,
        rejected: status.pool.rejected,
        names_in_status: status.tracers.len(),
        per_second,
    })
}

/// Records one span of a tenant. Retries a look-up that finds the pool full.
fn look_up_once(registry: &TracerRegistry, at: usize) -> Result<()> {
    let name = ours::name(at);
    loop {
        match registry.tenant(&name) {
            Ok(tracer) => {
                tracer.in_span("once", |_| ());
                return Ok(());
            }
            Err(LookupError::PoolFull { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the delivered and lost spans of all tenants.
fn sums(status: &Status) -> [u64; 2] {
    let ledgers = status.tracers.iter().map(|tracer| &tracer.spans);
    ledgers
        .chain([&status.evicted_totals.spans])
        .fold([0; 2], |[delivered, lost], ledger| {
            [delivered + ledger.delivered, lost + ledger.lost()]
        })
}

#[cfg(tracer_registry_heap)]
fn heap_bytes() -> Option<u64> {
    u64::try_from(crate::HEAP.current_usage()).ok()
}

#[cfg(not(tracer_registry_heap))]
fn heap_bytes() -> Option<u64> {
    None
}

fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / f64::from(1 << 20)
}

fn show(sample: &Sample, begun: Instant, status: &Status) {
    let [delivered, lost] = sums(status);
    eprintln!(
        "{:>7}  {:>13.1}  {:>13}  {:>7}  {:>9.0}  {delivered:>9}  {lost:>4}",
        sample.tenants,
        mebibytes(sample.resident_bytes.unwrap_or_default()),
        sample
            .heap_bytes
            .map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", mebibytes(bytes))),
        sample.threads.unwrap_or_default(),
        number(sample.tenants as u64) / begun.elapsed().as_secs_f64(),
    );
}
