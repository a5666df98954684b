//! A queue that fills up while the receiver refuses the key.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::TracerHandle;
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use super::{Vault, next_key};
use crate::support::{LONG, key_of, quick, wait_for};

const QUEUE: usize = 5;
const TOO_MANY: u64 = 3;

fn overfill(tracer: &TracerHandle) {
    for n in 0..QUEUE as u64 + TOO_MANY {
        tracer.start_span(format!("span {n}")).end();
    }
}

#[test]
fn drops_of_a_full_queue_name_a_revoked_key_until_the_next_key() {
    let vault = Vault::default();
    let mut export = quick();
    export.max_queue_size = Some(QUEUE);
    export.timeout = Some(LONG);
    export.retry.max_elapsed = Some(Duration::from_secs(600));
    let world = vault.world(&["a"], export);
    let a = world.tenant("a");
    let revoked = world.collector.fault(Fault::reject_key().only(key_of("a")));
    a.start_span("refused").end();
    let failures = || world.status("a").breakers.spans.failures;
    wait_for("a refusal", failures, |failures| *failures > 0);
    overfill(&a);
    let spans = || world.status("a").spans;
    assert_eq!(
        spans().dropped,
        BTreeMap::from([(DropReason::QueueFullUnauthorized, TOO_MANY)])
    );
    assert!(world.collector.fault_hits(revoked) > 0);
    // With another key, the queue drains and has room again.
    vault.put("a", &next_key("a"));
    wait_for(
        "the delivery",
        || spans().delivered,
        |delivered| *delivered == 1 + QUEUE as u64,
    );
    world.collector.fault(Fault::hang());
    a.start_span("in flight").end();
    wait_for("the request", || spans().in_flight, |in_flight| *in_flight == 1);
    overfill(&a);
    assert_eq!(spans().dropped[&DropReason::QueueFull], TOO_MANY);
    assert_eq!(spans().dropped[&DropReason::QueueFullUnauthorized], TOO_MANY);
    world.collector.clear_faults();
    drop(world.registry.shutdown(LONG));
}
