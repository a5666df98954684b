//! Replicas of the gateway on a stream of three servers: replicas and servers are killed under load,
//! and no span that was acknowledged is lost.
#![expect(clippy::disallowed_methods, reason = "a variable sets the number of kills")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::runtime::Builder;
use tracer_registry_stream::test::TestCluster;

use crate::admin::admin_of;
use crate::kill::{CLIENTS, End, Load, Receipts, collector, tenants};
use crate::serve::Served;
use crate::support::LONG;
use crate::{run, text};

const KILLS: u32 = 4;
const REPLICAS: usize = 3;
/// Time between two kills.
const PAUSE: Duration = Duration::from_secs(3);
/// The slowest take-over that is no loss: of servers and a replica that were killed together.
const LIMIT: Duration = Duration::from_secs(120);

fn configure(folder: &Path, url: &str, servers: &TestCluster) -> String {
    let mut config = format!(
        "[defaults]\nbackend = \"otlp\"\nendpoint = \"{url}\"\n\
         [export]\nscheduled_delay = \"5ms\"\ntimeout = \"10s\"\n\
         [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
         [gateway.admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ file = \"admin\" }}\n\
         [gateway.stream]\nservers = {:?}\nmonitor = {:?}\npartitions = 4\n\
         max_bytes = \"64MiB\"\nmax_parked_bytes = \"64MiB\"\n",
        servers.urls(),
        servers.monitor_urls(),
    );
    fs::write(folder.join("admin"), "a-long-token-of-the-admin").expect("written");
    let _ = write!(config, "{}", tenants(folder));
    let file = folder.join("gateway.toml");
    fs::write(&file, config).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

/// Asks a replica for the ledger of all.
fn ledger(admin: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    write!(
        stream,
        "GET /api/cluster HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer a-long-token-of-the-admin\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

#[test]
#[ignore = "needs nats-server"]
fn no_acknowledged_span_is_lost_by_kills_of_replicas_and_servers() {
    let kills = env::var("CLUSTER_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let receipts = Arc::new(Mutex::new(Receipts::default()));
    let collector = collector(&receipts);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut servers = runtime.block_on(TestCluster::start(3));
    let folder = tempfile::tempdir().expect("a folder");
    let config = configure(folder.path(), &collector.url(), &servers);
    let output = run(&["stream", "init", "--config", &config]);
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let arguments = ["--config", config.as_str()];
    let load = Load::default();
    let mut random = StdRng::seed_from_u64(0);

    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let load = &load;
            scope.spawn(move || load.run(client));
        }
        // Without it, a panic here would leave the clients running.
        let _end = End(&load);
        let mut replicas: Vec<Served> = (0..REPLICAS).map(|_| Served::start(&arguments)).collect();
        for kill in 0..kills {
            let before = load.acknowledged();
            let until = Instant::now() + PAUSE;
            // Clients use one replica after the other.
            while Instant::now() < until || load.acknowledged() == before {
                let replica = random.random_range(0..REPLICAS);
                load.listen(Some(replicas[replica].http.clone()));
                thread::sleep(Duration::from_millis(100));
            }
            if kill % 2 == 0 {
                let replica = random.random_range(0..REPLICAS);
                replicas[replica].process.kill().expect("it runs");
                replicas[replica].process.wait().expect("it ends");
                load.listen(Some(replicas[(replica + 1) % REPLICAS].http.clone()));
                replicas[replica] = Served::start(&arguments);
            } else {
                let server = random.random_range(0..servers.nodes());
                servers.kill(server);
                runtime.block_on(servers.restart(server));
            }
        }
        load.end();
        let all_arrived = collector.wait_until(LIMIT, |_| load.missing(&receipts) == 0);
        assert!(
            all_arrived,
            "{} of {} acknowledged spans are lost",
            load.missing(&receipts),
            load.acknowledged()
        );
        let admin = admin_of(&mut replicas[0]);
        let admin = admin.trim_start_matches("http://");
        let until = Instant::now() + LIMIT;
        let ledger = loop {
            let ledger = ledger(admin);
            if let Some(ledger) = ledger.filter(|ledger| ledger["waiting"] == 0) {
                break ledger;
            }
            assert!(Instant::now() < until, "{:?}", self::ledger(admin));
            thread::sleep(Duration::from_millis(200));
        };
        let receipts = receipts.lock().expect("no panic");
        assert_eq!(receipts.foreign, 0);
        assert_eq!(ledger["buffer_lost"], 0, "{ledger}");
        let [published, unconfirmed, finished] =
            ["published", "unconfirmed", "finished"].map(|field| ledger[field].as_u64().expect("a number"));
        assert!(published >= load.acknowledged() as u64, "{ledger}");
        assert_eq!(finished, published + unconfirmed, "{ledger}");
        // Each of them was received, also those of requests without an answer.
        assert_eq!(receipts.spans.len() as u64, finished, "{ledger}");
        println!(
            "{kills} kills: {} spans acknowledged, 0 lost; {} received, {} of them again; {ledger}",
            load.acknowledged(),
            receipts.spans.len(),
            receipts.again(),
        );
        for replica in replicas {
            let (code, output, log) = replica.stop();
            assert_eq!(code, Some(0), "{output}\n{log}");
        }
    });
}
