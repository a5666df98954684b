//! What the replicas of a gateway share: a stream, and the ledger of all.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::servers::Servers;
use crate::lock::lock;

/// Token of the admin listeners.
pub(super) const ADMIN_TOKEN: &str = "a-long-token-of-the-admin";

/// Tenants per partition are few, so that each partition has several.
const PARTITIONS: u16 = 4;
/// Servers may take this long after a kill until all streams have a leader again. A request that
/// they do not acknowledge until then may be in a stream nevertheless.
const ELECTIONS: Duration = Duration::from_secs(15);
/// How long the servers may take to acknowledge a request if none is killed: as long as a busy disk
/// needs, because a request that is not acknowledged may arrive twice.
const PUBLISH: &str = "20s";
const PAUSE: Duration = Duration::from_millis(50);
/// Time limit of a request to a server or to an admin listener.
const REQUEST: Duration = Duration::from_secs(10);

/// A stream of its own on the servers.
pub(super) struct Cluster {
    servers: Arc<Servers>,
    prefix: String,
    /// Ledger at the end of the last program.
    before: Mutex<Ledger>,
    /// Until when the servers may store data that they do not acknowledge.
    uncertain: Mutex<Option<Until>>,
}

/// End of a time that may be unknown yet.
#[derive(Clone, Copy)]
enum Until {
    Now,
    At(Instant),
}

/// Counts of the ledger of all replicas, which `docs/cluster.md` describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Ledger {
    pub(super) published: u64,
    pub(super) unconfirmed: u64,
    pub(super) finished: u64,
    pub(super) waiting: u64,
    pub(super) buffer_lost: u64,
    pub(super) expired: u64,
    pub(super) purged: u64,
    pub(super) duplicates: u64,
}

impl Cluster {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            servers,
            prefix: format!("verify{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            before: Mutex::default(),
            uncertain: Mutex::default(),
        }
    }

    /// Returns the table `[gateway.stream]`.
    pub(super) fn table(&self) -> Value {
        let nodes = self.servers.nodes();
        let mut table = json!({
            "servers": self.servers.urls(),
            "monitor": self.servers.monitor_urls(),
            "prefix": self.prefix,
            "replicas": nodes,
            "partitions": PARTITIONS,
            "max_bytes": "64MiB",
            "max_parked_bytes": "64MiB",
        });
        if nodes == 1 {
            table["publish_timeout"] = json!(PUBLISH);
        }
        table
    }

    /// Kills a server and starts it again.
    pub(super) fn kill_server(&self, number: usize) {
        *lock(&self.uncertain) = Some(Until::Now);
        self.servers.kill(number);
        *lock(&self.uncertain) = Some(Until::At(Instant::now() + ELECTIONS));
    }

    /// Returns whether the servers may store what they did not acknowledge since then.
    pub(super) fn is_uncertain(&self, since: Instant) -> bool {
        match *lock(&self.uncertain) {
            None => false,
            Some(Until::Now) => true,
            Some(Until::At(until)) => since < until,
        }
    }

    /// Waits until the stream is empty. Returns whether it is.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> bool {
        while !self.is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }

    /// Returns whether all servers say that nothing waits in the stream.
    fn is_empty(&self) -> bool {
        let has_nothing = |url: &String| {
            let address = url.trim_start_matches("http://");
            let Ok(answer) = get(address, "/jsz?accounts=true&streams=true", None) else {
                return false;
            };
            let accounts = answer["account_details"].as_array().into_iter().flatten();
            let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
            let (mut known, mut waiting) = (0, 0);
            for stream in streams {
                let name = stream["name"].as_str().and_then(|name| name.strip_prefix(&self.prefix));
                if name.is_some_and(|name| name.starts_with("-hot-") || name.starts_with("-park-")) {
                    known += 1;
                    waiting += stream["state"]["messages"].as_u64().unwrap_or(1);
                }
            }
            known == 2 * PARTITIONS && waiting == 0
        };
        self.servers.monitor_urls().iter().all(has_nothing)
    }

    /// Returns what the ledger has counted since the last call, once nothing waits. A replica
    /// listens at the address. `None` if it does not answer.
    pub(super) fn ledger(&self, admin: &str, deadline: Instant) -> Option<Ledger> {
        let all = loop {
            let answer = get(admin, "/api/cluster", Some(ADMIN_TOKEN));
            let all = answer
                .ok()
                .and_then(|answer| serde_json::from_value::<Ledger>(answer).ok());
            let is_settled = all.is_some_and(|all| all.waiting == 0);
            if is_settled || Instant::now() >= deadline {
                break all?;
            }
            thread::sleep(PAUSE);
        };
        let before = std::mem::replace(&mut *lock(&self.before), all);
        Some(all.since(&before))
    }
}

impl Ledger {
    fn since(&self, earlier: &Self) -> Self {
        let since = |now: u64, earlier: u64| now.saturating_sub(earlier);
        Self {
            published: since(self.published, earlier.published),
            unconfirmed: since(self.unconfirmed, earlier.unconfirmed),
            finished: since(self.finished, earlier.finished),
            waiting: self.waiting,
            buffer_lost: since(self.buffer_lost, earlier.buffer_lost),
            expired: since(self.expired, earlier.expired),
            purged: since(self.purged, earlier.purged),
            duplicates: since(self.duplicates, earlier.duplicates),
        }
    }
}

/// Reads a JSON document over HTTP.
fn get(address: &str, path: &str, token: Option<&str>) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(REQUEST))?;
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    // HTTP/1.0 has no chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n{token}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}
