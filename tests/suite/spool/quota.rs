//! Day and month counters of quotas over a restart.

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Quota, SpoolMode};
use tracer_registry::status::DropReason;
use tracer_registry::{RegistryBuilder, Selector, TracerRegistry};

use super::{Disk, status};
use crate::support::{LONG, binding};

const LIMIT: usize = 10;

fn limited(builder: RegistryBuilder) -> RegistryBuilder {
    let quota = Quota {
        spans_per_month: Some(LIMIT),
        ..Quota::default()
    };
    builder.tenant("a", binding("a").quota(quota))
}

/// Ends spans, and returns how many the quota refused.
fn refused(registry: &TracerRegistry, count: usize) -> u64 {
    let dropped = || {
        let status = status(registry, "a");
        status.map_or(0, |status| {
            status.spans.dropped.get(&DropReason::Quota).copied().unwrap_or(0)
        })
    };
    let before = dropped();
    let tracer = registry.tenant("a").expect("configured");
    for _ in 0..count {
        tracer.start_span("span").end();
    }
    dropped() - before
}

#[test]
fn a_restart_keeps_the_count_of_the_month() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let disk = Disk::new(mode, &["a"]);
        for (count, expected) in [(4, 0), (4, 0), (4, 2), (4, 4)] {
            let registry = disk.start_with(limited);
            assert_eq!(refused(&registry, count), expected, "{mode:?}");
            drop(registry.shutdown(LONG));
        }
        assert_eq!(disk.names("a").len(), LIMIT, "{mode:?}");
    }
}

#[test]
fn a_purge_erases_the_count_on_disk_and_gives_no_new_quota_in_the_process() {
    let disk = Disk::new(SpoolMode::Overflow, &["a"]);
    let registry = disk.start_with(limited);
    assert_eq!(refused(&registry, LIMIT), 0);
    let a = Selector::try_from(Selector::tenant("a")).expect("a name");
    registry.purge(a.clone()).expect("the disk works");
    assert!(registry.allow(a.clone()).expect("the disk works"));
    assert_eq!(refused(&registry, 3), 3);
    registry.purge(a.clone()).expect("the disk works");
    drop(registry.shutdown(LONG));
    drop(registry);
    let checked = tracer_registry_spool::check::check(&disk.settings().path.expect("set").join("spool.db"));
    assert_eq!(checked.expect("a spool").usage, []);
}
