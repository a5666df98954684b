//! Many tenants with one message each, which wait in the stream until there is a sender.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{CLIENTS, Cluster, LIMIT, POLL, variable};
use crate::load::connection::Connection;
use crate::load::{End, Load};

/// The processes that are measured.
const PROCESSES: [&str; 5] = ["server 0", "server 1", "server 2", "ingest", "send"];

#[test]
#[ignore = "needs nats-server"]
fn one_message_of_each_of_many_tenants_is_delivered() {
    let tenants: u64 = variable("CLUSTER_MANY").unwrap_or(500);
    let cluster = Cluster::start(tenants);
    cluster.init();
    let ingest = cluster.replica("ingest", "ingest", "");
    let load = Load::closed(tenants, CLIENTS, 1..=1);
    let _end = End(&load);
    let started = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (load, address) = (&load, &ingest.served.http);
            scope.spawn(move || {
                let mut connection = Connection::default();
                for tenant in (0..tenants).filter(|tenant| tenant % CLIENTS == client) {
                    assert!(load.send(&mut connection, address, tenant, 1), "no answer");
                }
            });
        }
    });
    let published = started.elapsed();
    assert_eq!(load.acknowledged() as u64, tenants, "{:?}", load.answers());
    assert_eq!(cluster.receipts.lock().expect("no panic").spans.len(), 0);

    let mut processes: Vec<u32> = (0..3).map(|node| cluster.servers.process_id(node)).collect();
    processes.push(ingest.served.process.id());
    let before: Vec<u64> = processes.iter().map(|process| memory(*process)).collect();
    let started = Instant::now();
    let send = cluster.replica("send", "send", "");
    processes.push(send.served.process.id());
    let is_over = AtomicBool::new(false);
    let (drained, most) = thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = vec![0; processes.len()];
            while !is_over.load(Ordering::Relaxed) {
                for (process, most) in processes.iter().zip(&mut most) {
                    *most = memory(*process).max(*most);
                }
                thread::sleep(POLL);
            }
            most
        });
        let all_arrived = load.wait_until_received(&cluster.receipts, |_| true, LIMIT.max(per_tenant(tenants)));
        let drained = started.elapsed();
        is_over.store(true, Ordering::Relaxed);
        assert!(
            all_arrived,
            "{} are lost: {:?}",
            load.missing(&cluster.receipts),
            send.ledger()
        );
        (drained, most.join().expect("no panic"))
    });
    let ledger = cluster.settle(&load, &send, false);
    let mut memory = String::new();
    for (place, (name, most)) in PROCESSES.iter().zip(&most).enumerate() {
        let _ = write!(memory, "; {name}: {most} MiB at most");
        if let Some(before) = before.get(place) {
            let _ = write!(memory, ", {before} before");
        }
    }
    println!(
        "{tenants} tenants with one message each, published in {published:.1?}, drained in {drained:.1?}{memory}; {}",
        cluster.report(&load, &ledger)
    );
    send.stop();
    ingest.stop();
}

/// The longest that may be.
fn per_tenant(tenants: u64) -> Duration {
    Duration::from_millis(20 * tenants)
}

/// Returns the resident memory of a process in MiB.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() / 1024
}
