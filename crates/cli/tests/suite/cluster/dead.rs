//! Tenants with receivers that fail hold up no other, and get their spans in order when the
//! receivers are well again.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use tracer_registry_collector::Fault;

use super::{CLIENTS, Cluster, LIMIT, POLL, RATE, Replica, SPANS, addresses, percentile, variable};
use crate::load::receipts::builder;
use crate::load::{End, Load, tenant_of};

/// One in so many tenants has a receiver that fails.
const SICK: u64 = 10;

fn is_sick(tenant: u64) -> bool {
    tenant.is_multiple_of(SICK)
}

#[test]
#[ignore = "needs nats-server"]
fn dead_receivers_hold_up_no_other_tenant_and_get_all_in_order_when_they_are_well() {
    let tenants = variable("CLUSTER_TENANTS").unwrap_or(40);
    let time = Duration::from_secs(variable("CLUSTER_SECONDS").unwrap_or(5));
    let mut cluster = Cluster::start(tenants);
    // Receivers of the sick tenants: one goes away, one does not answer, one answers with 503.
    let receiver = || builder(&cluster.receipts, tenants);
    let [leaves, hangs, refuses] = [0; 3].map(|_| receiver().start().expect("started"));
    let address = leaves.addr().to_string();
    let urls = [leaves.url(), hangs.url(), refuses.url()];
    let sick = (0..tenants).filter(|tenant| is_sick(*tenant));
    let mut tables = String::new();
    for (tenant, url) in sick.zip(urls.iter().cycle()) {
        let _ = write!(
            tables,
            "[tenants.t{tenant}]\nendpoint = \"{url}\"\napi_key = {{ file = \"keys/t{tenant}\" }}\n"
        );
    }
    cluster.tables.push_str(&tables);
    cluster.init();
    let replicas: Vec<Replica> = ["both-0", "both-1"]
        .map(|name| cluster.replica(name, "both", ""))
        .into();
    let load = Load::paced(tenants, CLIENTS, SPANS, RATE);
    thread::scope(|scope| {
        load.start(scope);
        let _end = End(&load);
        load.listen(addresses(&replicas));
        let until = Instant::now() + LIMIT;
        while cluster.receipts.lock().expect("no panic").tenants() < tenants {
            assert!(Instant::now() < until, "spans of each tenant are received");
            thread::sleep(POLL);
        }

        let begin = Instant::now();
        thread::sleep(time);
        leaves.shutdown();
        hangs.fault(Fault::hang());
        refuses.fault(Fault::status(503));
        let dead = Instant::now();
        thread::sleep(time);
        load.finish();
        let end = Instant::now();
        let others_arrived = load.wait_until_received(&cluster.receipts, |tenant| !is_sick(tenant), LIMIT);
        assert!(others_arrived, "{} are lost", load.missing(&cluster.receipts));
        let waiting = load.missing_of(&cluster.receipts, is_sick);
        assert!(waiting > 0, "the receivers of sick tenants are away");

        let healed = Instant::now();
        let _returns = receiver().listen(&address).start().expect("the port is free");
        hangs.clear_faults();
        refuses.clear_faults();
        let all_arrived = load.wait_until_received(&cluster.receipts, is_sick, LIMIT);
        let healing = healed.elapsed();
        assert!(all_arrived, "{} are lost", load.missing(&cluster.receipts));
        let ledger = cluster.settle(&load, &replicas[0], false);
        let [usual, beside] = [(begin, dead), (dead, end)].map(|(begin, end)| p99(&load, &cluster, begin, end));
        let receipts = cluster.receipts.lock().expect("no panic");
        let wrong = receipts.out_of_order(load.acknowledgements());
        assert!(wrong.is_empty(), "spans before older ones of their tenant: {wrong:#?}");
        drop(receipts);
        println!(
            "{} of {tenants} tenants with dead receivers for {time:?}: p99 of the others from acknowledged to \
             received {beside:.1?}, with all receivers well {usual:.1?}, ratio {:.2}; {waiting} spans waited, and \
             arrived in order within {healing:.1?}; {}",
            tenants.div_ceil(SICK),
            beside.as_secs_f64() / usual.as_secs_f64(),
            cluster.report(&load, &ledger),
        );
        replicas.into_iter().for_each(Replica::stop);
    });
}

/// Returns how long spans of tenants with a receiver that is well took, of those acknowledged in a
/// time.
fn p99(load: &Load, cluster: &Cluster, begin: Instant, end: Instant) -> Duration {
    let receipts = cluster.receipts.lock().expect("no panic");
    let spans = load.acknowledgements().into_iter();
    let spans = spans.filter(|(span, at)| !is_sick(tenant_of(*span)) && (begin..end).contains(at));
    let mut waits: Vec<Duration> = spans
        .map(|(span, at)| receipts.spans[&span].first.saturating_duration_since(at))
        .collect();
    waits.sort_unstable();
    percentile(&waits, 0.99)
}
