//! Servers go away, or stop to answer, and come back: requests are refused or wait in a local spool
//! meanwhile, and nothing that was acknowledged is lost.

use std::thread;
use std::time::{Duration, Instant};

use super::{CLIENTS, Cluster, LIMIT, POLL, RATE, Replica, SPANS, addresses, variable};
use crate::load::{Answers, End, Load};

const TENANTS: u64 = 200;

/// Waits until the answers of an address are so.
fn wait_for(load: &Load, address: &str, what: &str, is_met: impl Fn(Answers) -> bool) {
    let until = Instant::now() + LIMIT;
    while !is_met(load.answers_of(address)) {
        assert!(Instant::now() < until, "{what}: {:?}", load.answers_of(address));
        thread::sleep(POLL);
    }
}

/// Waits until a gateway has acknowledged further requests.
fn wait_until_it_takes(load: &Load, address: &str) {
    let before = load.answers_of(address).acknowledged;
    wait_for(load, address, "it takes requests", |answers| {
        answers.acknowledged > before + 100
    });
}

/// Waits until a gateway has refused further requests.
fn wait_until_it_refuses(load: &Load, address: &str) {
    let before = load.answers_of(address).refused;
    wait_for(load, address, "it refuses requests", |answers| {
        answers.refused > before + 10
    });
}

#[test]
#[ignore = "needs nats-server"]
fn no_acknowledged_span_is_lost_while_servers_are_away_or_do_not_answer() {
    let away = Duration::from_secs(variable("CLUSTER_OUTAGE_SECONDS").unwrap_or(5));
    let mut cluster = Cluster::start(TENANTS);
    cluster.init();
    let spool = "[spool]\nmode = \"through\"\npath = \"spool\"\nmax_bytes = \"1GiB\"\n";
    let replicas = vec![
        cluster.replica("spool", "both", spool),
        cluster.replica("plain", "both", ""),
    ];
    let [with_spool, without] = [0, 1].map(|place: usize| replicas[place].served.http.clone());
    let load = Load::paced(TENANTS, CLIENTS, SPANS, RATE);
    thread::scope(|scope| {
        load.start(scope);
        let _end = End(&load);
        load.listen(addresses(&replicas));
        wait_until_it_takes(&load, &with_spool);
        wait_until_it_takes(&load, &without);

        // Without a majority, nothing is stored.
        let mut figures = Vec::new();
        for node in [0, 1] {
            cluster.servers.kill(node);
        }
        wait_until_it_refuses(&load, &without);
        wait_until_it_takes(&load, &with_spool);
        let healed = Instant::now();
        for node in [0, 1] {
            cluster.runtime.block_on(cluster.servers.restart(node));
        }
        wait_until_it_takes(&load, &without);
        figures.push(("two of three servers", healed.elapsed()));

        // A leader that does not answer, with connections that stay open.
        let stream = "tr-hot-0";
        let leader = cluster.runtime.block_on(cluster.servers.leader_of(stream, None));
        cluster.servers.stop(leader);
        let stopped = Instant::now();
        let next = cluster
            .runtime
            .block_on(cluster.servers.leader_of(stream, Some(leader)));
        assert_ne!(leader, next);
        wait_until_it_takes(&load, &without);
        figures.push(("a leader that is stopped", stopped.elapsed()));
        cluster.servers.cont(leader);
        wait_until_it_takes(&load, &without);

        for node in 0..3 {
            cluster.servers.kill(node);
        }
        wait_until_it_refuses(&load, &without);
        let before = [&with_spool, &without].map(|address| load.answers_of(address));
        thread::sleep(away);
        let after = [&with_spool, &without].map(|address| load.answers_of(address));
        let change = |place: usize| {
            let (before, after) = (before[place], after[place]);
            (after.acknowledged - before.acknowledged, after.refused - before.refused)
        };
        let ((spooled, refused_by_spool), (acknowledged, refused)) = (change(0), change(1));
        assert!(spooled > 0, "a gateway with a spool takes requests");
        assert_eq!(refused_by_spool, 0, "a gateway with a spool takes all requests");
        assert_eq!(acknowledged, 0, "a gateway without a spool takes no requests");
        assert!(refused > 0);
        let healed = Instant::now();
        for node in 0..3 {
            cluster.runtime.block_on(cluster.servers.restart(node));
        }
        wait_until_it_takes(&load, &without);
        figures.push(("all servers", healed.elapsed()));
        load.finish();
        let ledger = cluster.settle(&load, &replicas[0], true);
        println!(
            "servers away for {away:?}: {spooled} requests with 200 by a spool, {refused} with 503 without one; \
             requests taken again after {figures:.1?}; {}",
            cluster.report(&load, &ledger)
        );
        replicas.into_iter().for_each(Replica::stop);
    });
}
