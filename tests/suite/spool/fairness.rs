//! Tenants with data on disk take nothing from others: no slots of the pool, no place on the disk.

use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{IdleTimeout, Pool, SpoolMode};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::Status;
use tracer_registry::{LookupError, TracerHandle, TracerRegistry};
use tracer_registry_collector::LocalCollector;

use super::{assert_adds_up, impatient};
use crate::support::{AT_ONCE, binding, key_of, registry, wait_for};

const DEAD: usize = 100;
const POOL: usize = 60;
const HEALTHY: usize = 300;

/// Looks a tenant up. Repeats if the pool is full, because tracers with unsent data are not evicted.
fn tenant(registry: &TracerRegistry, name: &str) -> TracerHandle {
    let not_full = |found: &Result<_, _>| !matches!(found, Err(LookupError::PoolFull { .. }));
    let found = wait_for("capacity in the pool", || registry.tenant(name), not_full);
    found.expect("configured")
}

/// Returns the sums of dead tenants: accepted, spooled and lost spans.
fn dead(status: &Status) -> [u64; 3] {
    let mut sums = [0; 3];
    for tracer in &status.tracers {
        assert_adds_up(&tracer.spans);
        if tracer.selector.to_string().contains("dead") {
            let spans = &tracer.spans;
            for (sum, count) in sums.iter_mut().zip([spans.accepted, spans.spooled, spans.lost()]) {
                *sum += count;
            }
        }
    }
    sums
}

#[test]
fn more_dead_tenants_than_the_pool_has_slots_keep_no_one_from_sending() {
    let fingerprinter = Fingerprinter::new();
    let project = |address: Option<String>| {
        let fingerprinter = fingerprinter.clone();
        let builder = LocalCollector::builder()
            .fingerprints(move |key| fingerprinter.fingerprint(key).into())
            .project("all", key_of("all"));
        match address {
            Some(address) => builder.listen(address),
            None => builder,
        }
        .start()
        .expect("a free port")
    };
    let healthy = project(None);
    let unused = project(Some("127.31.9.2:0".to_owned())).addr().to_string();
    let folder = TempDir::new().expect("a folder");
    let spool = tracer_registry::config::Spool {
        mode: Some(SpoolMode::Overflow),
        path: Some(folder.path().join("spool")),
        max_bytes: Some(64 << 20),
        ..Default::default()
    };
    let pool = Pool {
        max_tracers: Some(POOL),
        idle_timeout: Some(IdleTimeout::Never),
        when_full: None,
    };
    let mut builder = registry(&healthy.url(), &[], &fingerprinter).tenant("*", binding("all"));
    for number in 0..DEAD {
        let endpoint = format!("http://{unused}");
        builder = builder.tenant(format!("dead{number}"), binding("all").endpoint(endpoint));
    }
    let builder = builder.export(impatient()).pool(pool).spool(spool);
    let registry = builder.build().expect("valid");

    // Each of them becomes idle after its span is on disk, so the next one finds a slot.
    for number in 0..DEAD {
        tenant(&registry, &format!("dead{number}")).start_span("dead").end();
    }
    let sums = || dead(&registry.status());
    wait_for("all on disk", sums, |sums| *sums == [DEAD as u64, DEAD as u64, 0]);

    for number in 0..HEALTHY {
        let began = Instant::now();
        tenant(&registry, &format!("healthy{number}"))
            .start_span("healthy")
            .end();
        assert!(began.elapsed() < AT_ONCE, "waited {:?}", began.elapsed());
    }
    let received = |collector: &LocalCollector| collector.project("all").expect("named").spans().len();
    wait_for("all healthy", || received(&healthy), |count| *count == HEALTHY);
    assert_eq!(sums()[0], DEAD as u64);
    assert_eq!(sums()[2], 0, "nothing is lost");

    let alive = project(Some(unused));
    wait_for("all others", || received(&alive), |count| *count == DEAD);
    let is_over = |sums: &[u64; 3]| sums[1] == 0;
    assert_eq!(wait_for("an empty disk", sums, is_over)[2], 0);
    drop(registry.shutdown(Duration::from_secs(2)));
}
