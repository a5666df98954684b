//! Replicas of the gateway on a stream of three NATS servers.
//!
//! These tests are short. Variables make them long, see `.ci/long`. Each prints a line of figures.
#![expect(clippy::disallowed_methods, reason = "variables set how long the tests are")]

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tracer_registry_collector::LocalCollector;
use tracer_registry_stream::test::TestCluster;

use crate::admin::admin_of;
use crate::load::Load;
use crate::load::receipts::{Receipts, collector, tenants};
use crate::serve::Served;
use crate::support::LONG;
use crate::{run, text};

mod dead;
mod kills;
mod many;
mod outages;

/// Spans a second, in requests of ten.
const RATE: u32 = 2_000;
const SPANS: u64 = 10;
/// Clients: so many that others go on while some wait for an answer.
const CLIENTS: u64 = 32;
/// How long anything may take that is not lost.
const LIMIT: Duration = Duration::from_secs(180);
/// How often a condition is looked at that nothing signals.
const POLL: Duration = Duration::from_millis(200);
const ADMIN: &str = "a-long-token-of-the-admin";

/// Returns a number from the environment.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The servers, the receiver and the configuration of all replicas.
struct Cluster {
    servers: TestCluster,
    runtime: Runtime,
    receipts: Arc<Mutex<Receipts>>,
    collector: LocalCollector,
    folder: TempDir,
    tables: String,
}

/// A gateway that runs.
struct Replica {
    served: Served,
    config: String,
    /// `both`, `ingest` or `send`.
    role: &'static str,
    admin: String,
}

impl Cluster {
    fn start(number: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let receipts = Arc::new(Mutex::new(Receipts::default()));
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("admin"), ADMIN).expect("written");
        Self {
            servers: runtime.block_on(TestCluster::start(3)),
            runtime,
            collector: collector(&receipts, number),
            receipts,
            tables: tenants(folder.path(), number),
            folder,
        }
    }

    /// Writes the configuration of a replica, with further tables.
    fn configure(&self, name: &str, role: &str, tables: &str) -> String {
        let config = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\n\
             [export]\nscheduled_delay = \"5ms\"\ntimeout = \"10s\"\n\
             [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
             [gateway.admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ file = \"admin\" }}\n\
             [gateway.stream]\nservers = {:?}\nmonitor = {:?}\npartitions = 8\nrole = \"{role}\"\n\
             max_bytes = \"1GiB\"\nmax_parked_bytes = \"1GiB\"\n{}{tables}",
            self.collector.url(),
            self.servers.urls(),
            self.servers.monitor_urls(),
            self.tables,
        );
        let file = self.folder.path().join(format!("{name}.toml"));
        fs::write(&file, config).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    }

    /// Creates the streams.
    fn init(&self) {
        let config = self.configure("init", "both", "");
        let output = run(&["stream", "init", "--config", &config]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stdout}{stderr}");
    }

    fn replica(&self, name: &str, role: &'static str, tables: &str) -> Replica {
        let config = self.configure(name, role, tables);
        let mut served = Served::start(&["--config", &config]);
        let admin = admin_of(&mut served);
        Replica {
            served,
            config,
            role,
            admin,
        }
    }

    /// Waits until all acknowledged spans are received and the ledger says the same. Returns it.
    ///
    /// With a spool, a message that was stored and not acknowledged in time is sent, and sent again
    /// from there with another number: the ledger counts both, one of them as unconfirmed.
    fn settle(&self, load: &Load, replica: &Replica, has_spool: bool) -> Value {
        let all_arrived = load.wait_until_received(&self.receipts, |_| true, LIMIT);
        assert!(
            all_arrived,
            "{} of {} acknowledged spans are lost: {:?}",
            load.missing(&self.receipts),
            load.acknowledged(),
            replica.ledger(),
        );
        let until = Instant::now() + LIMIT;
        let ledger = loop {
            let ledger = replica.ledger().unwrap_or_default();
            let receipts = self.receipts.lock().expect("no panic");
            let (received, again) = (receipts.spans.len() as u64, receipts.again() as u64);
            drop(receipts);
            let [published, unconfirmed, finished, waiting] =
                ["published", "unconfirmed", "finished", "waiting"].map(|field| ledger[field].as_u64());
            let repeated = unconfirmed.filter(|_| has_spool).unwrap_or(0).min(again);
            // Each of them was received, also those of requests without an answer.
            let is_equal = |finished| (received..=received + repeated).contains(&finished);
            let is_settled = waiting == Some(0) && finished.is_some_and(is_equal);
            if is_settled && finished == published.zip(unconfirmed).map(|(some, others)| some + others) {
                break ledger;
            }
            assert!(Instant::now() < until, "{received} received, {again} again: {ledger}");
            thread::sleep(POLL);
        };
        assert_eq!(ledger["buffer_lost"], 0, "{ledger}");
        assert_eq!(self.receipts.lock().expect("no panic").foreign, 0);
        ledger
    }

    /// Describes what was sent and received.
    fn report(&self, load: &Load, ledger: &Value) -> String {
        let (receipts, answers) = (self.receipts.lock().expect("no panic"), load.answers());
        format!(
            "{} spans acknowledged, 0 lost; {} requests refused, {} without an answer; {} received, 0 of them foreign, \
             {} again; the ledger has {} finished, {} unconfirmed, {} withdrawn",
            load.acknowledged(),
            answers.refused,
            answers.unanswered,
            receipts.spans.len(),
            receipts.again(),
            ledger["finished"],
            ledger["unconfirmed"],
            ledger["withdrawn"],
        )
    }
}

impl Replica {
    fn takes_requests(&self) -> bool {
        self.role != "send"
    }

    fn kill(&mut self) {
        self.served.process.kill().expect("it runs");
        self.served.process.wait().expect("it ends");
    }

    fn start(&mut self) {
        self.served = Served::start(&["--config", &self.config]);
        self.admin = admin_of(&mut self.served);
    }

    /// Asks for the ledger of all replicas.
    fn ledger(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(self.admin.trim_start_matches("http://")).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        write!(
            stream,
            "GET /api/cluster HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {ADMIN}\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn stop(self) {
        let (code, output, log) = self.served.stop();
        assert_eq!(code, Some(0), "{output}\n{log}");
    }
}

/// Returns where the replicas take requests.
fn addresses(replicas: &[Replica]) -> Vec<String> {
    let taking = replicas.iter().filter(|replica| replica.takes_requests());
    taking.map(|replica| replica.served.http.clone()).collect()
}

/// Returns the value below which this part of the values is.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place).or(sorted.last()).copied().unwrap_or_default()
}
