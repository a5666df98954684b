//! Copies with data on disk.

use std::time::Duration;

use tracer_registry::RegistryBuilder;
use tracer_registry::config::SpoolMode;
use tracer_registry_collector::Fault;

use super::{OPERATIONS, ledger_of, operations};
use crate::spool::{Disk, end_spans, names};
use crate::support::{LONG, binding, key_of, wait_for};

fn copied(builder: RegistryBuilder) -> RegistryBuilder {
    builder
        .tenant("a", binding("a").also(&operations()))
        .environment("operations", binding("ops"))
}

#[test]
fn both_survive_an_outage_of_either_and_a_restart() {
    for mode in [SpoolMode::Through, SpoolMode::Overflow] {
        for fails in ["a", "ops"] {
            let disk = Disk::new(mode, &["a", "ops"]);
            let fault = disk.collector.fault(Fault::status(503).only(key_of(fails)));
            let registry = disk.start_with(copied);
            let expected = names("span", 30);
            end_spans(&registry, "a", &expected);
            let works = if fails == "a" { "ops" } else { "a" };
            disk.wait_for_names(works, &expected);
            drop(registry.shutdown(Duration::from_secs(4)));
            disk.collector.clear_fault(fault);
            let registry = disk.start_with(copied);
            disk.wait_for_names(fails, &expected);
            for selector in ["tenant:a", OPERATIONS] {
                let is_left = registry.tracer_status(selector.parse::<tracer_registry::Selector>().expect("valid"));
                if is_left.expect("valid").is_some() {
                    let ledger = wait_for(
                        selector,
                        || ledger_of(&registry, selector),
                        |ledger| ledger.pending() == 0,
                    );
                    assert_eq!((ledger.lost(), ledger.spooled), (0, 0), "{mode:?} {fails} {selector}");
                }
            }
            drop(registry.shutdown(LONG));
            let received = |project: &str| disk.collector.project(project).expect("known").spans().len();
            assert_eq!((received("a"), received("ops")), (30, 30), "{mode:?} {fails}");
        }
    }
}
