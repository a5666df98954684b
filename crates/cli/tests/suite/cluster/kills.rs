//! Replicas of all roles and servers are killed under load: no span that was acknowledged is lost,
//! and others take over soon.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{CLIENTS, Cluster, RATE, Replica, SPANS, addresses, percentile, variable};
use crate::load::receipts::Receipts;
use crate::load::{End, Load};

const TENANTS: u64 = 200;
/// What is killed, in turns.
const VICTIMS: [&str; 4] = ["both", "server", "send", "ingest"];
/// The slowest take-over that is no failure, on a busy computer.
const SLOWEST: Duration = Duration::from_secs(60);

/// A kill, and of what.
struct Kill {
    at: Instant,
    victim: &'static str,
}

#[test]
#[ignore = "needs nats-server"]
fn no_acknowledged_span_is_lost_by_kills_of_replicas_and_servers() {
    let (pause, kills) = match variable::<u32>("CLUSTER_SECONDS") {
        Some(seconds) => (Duration::from_secs(20), seconds / 20),
        None => (Duration::from_secs(3), 4),
    };
    let mut cluster = Cluster::start(TENANTS);
    cluster.init();
    let load = Load::paced(TENANTS, CLIENTS, SPANS, RATE);
    let mut random = StdRng::seed_from_u64(0);
    let mut done = Vec::new();
    thread::scope(|scope| {
        load.start(scope);
        let _end = End(&load);
        let roles = ["both", "both", "ingest", "send"];
        let replicas = (0..).zip(roles);
        let mut replicas: Vec<Replica> = replicas
            .map(|(number, role)| cluster.replica(&format!("{role}-{number}"), role, ""))
            .collect();
        load.listen(addresses(&replicas));
        let started = Instant::now();
        load.wait_for(1);
        for (number, victim) in (0..kills).zip(VICTIMS.into_iter().cycle()) {
            thread::sleep((started + pause * (number + 1)).saturating_duration_since(Instant::now()));
            let at = Instant::now();
            done.push(Kill { at, victim });
            if victim == "server" {
                let server = random.random_range(0..cluster.servers.nodes());
                cluster.servers.kill(server);
                cluster.runtime.block_on(cluster.servers.restart(server));
            } else {
                let of_role: Vec<usize> = (0..roles.len()).filter(|place| roles[*place] == victim).collect();
                let killed = *of_role.choose(&mut random).expect("one of each role");
                let mut others = addresses(&replicas);
                others.retain(|address| *address != replicas[killed].served.http);
                replicas[killed].kill();
                load.listen(others);
                replicas[killed].start();
                load.listen(addresses(&replicas));
            }
        }
        thread::sleep((started + pause * (kills + 1)).saturating_duration_since(Instant::now()));
        load.finish();
        let ledger = cluster.settle(&load, &replicas[0], false);
        let figures = failovers(&load, &cluster.receipts.lock().expect("no panic"), &done);
        println!(
            "{kills} kills in {:?}: {}; {figures}",
            pause * (kills + 1),
            cluster.report(&load, &ledger),
        );
        replicas.into_iter().for_each(Replica::stop);
    });
}

/// Returns the longest time that spans waited after each kill: those that were acknowledged after
/// it, and those that were still to be sent.
fn failovers(load: &Load, receipts: &Receipts, kills: &[Kill]) -> String {
    let mut waits = Vec::new();
    let mut longest = vec![Duration::ZERO; kills.len()];
    for (span, acknowledged) in load.acknowledgements() {
        let received = receipts.spans[&span].first;
        let wait = received.saturating_duration_since(acknowledged);
        waits.push(wait);
        let before = kills.partition_point(|kill| kill.at <= acknowledged);
        if let Some(longest) = before.checked_sub(1).and_then(|last| longest.get_mut(last)) {
            *longest = wait.max(*longest);
        }
        let until = kills.partition_point(|kill| kill.at < received);
        for (kill, longest) in kills.iter().zip(&mut longest).take(until).skip(before) {
            *longest = received.saturating_duration_since(kill.at).max(*longest);
        }
    }
    waits.sort_unstable();
    let mut figures = format!(
        "from acknowledged to received {:.0?} at the median, {:.0?} at p99",
        percentile(&waits, 0.5),
        percentile(&waits, 0.99),
    );
    for victim in VICTIMS.iter().copied().chain(["all"]) {
        let of_victim = kills.iter().zip(&longest);
        let of_victim = of_victim.filter(|(kill, _)| victim == "all" || kill.victim == victim);
        let mut of_victim: Vec<Duration> = of_victim.map(|(_, longest)| *longest).collect();
        of_victim.sort_unstable();
        let (median, worst) = (percentile(&of_victim, 0.5), percentile(&of_victim, 1.0));
        let _ = write!(
            figures,
            "; failover of {victim}: median {median:.1?}, worst {worst:.1?}"
        );
    }
    assert!(longest.iter().all(|longest| *longest < SLOWEST), "{figures}");
    figures
}
