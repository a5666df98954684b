//! `serve` writes all data to disk first, and is killed again and again under load: no span that it
//! acknowledged is lost.
#![expect(clippy::disallowed_methods, reason = "a variable sets the number of kills")]

use std::collections::{HashMap, HashSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tracer_registry_collector::{Fault, LocalCollector, Received};

use crate::serve::Served;
use crate::support::LONG;

const KILLS: u64 = 20;
pub(crate) const TENANTS: u64 = 8;
pub(crate) const CLIENTS: u64 = 4;
/// A span may be received again if it was received so shortly before a kill, because its row is
/// deleted with the next commit, or if its request was in flight.
const MAY_REPEAT: Duration = Duration::from_millis(250);

/// The clients, and what the gateway acknowledged.
#[derive(Default)]
pub(crate) struct Load {
    state: Mutex<State>,
    changed: Condvar,
    /// The number of the next span.
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Where the gateway listens, while it runs.
    address: Option<String>,
    is_over: bool,
    acknowledged: HashSet<u64>,
    /// Requests that were refused, and that were not answered.
    refused: u64,
    unanswered: u64,
}

/// When each span was received.
#[derive(Default)]
pub(crate) struct Receipts {
    pub(crate) spans: HashMap<u64, Vec<Instant>>,
    pub(crate) foreign: u64,
}

impl Load {
    pub(crate) fn listen(&self, address: Option<String>) {
        self.state.lock().expect("no panic").address = address;
        self.changed.notify_all();
    }

    pub(crate) fn end(&self) {
        self.state.lock().expect("no panic").is_over = true;
        self.changed.notify_all();
    }

    /// Waits for an address other than one that does not answer. Returns `None` at the end.
    fn address(&self, other_than: Option<&str>) -> Option<String> {
        let state = self.state.lock().expect("no panic");
        let state = self
            .changed
            .wait_while(state, |state| {
                !state.is_over && (state.address.is_none() || state.address.as_deref() == other_than)
            })
            .expect("no panic");
        state.address.clone().filter(|_| !state.is_over)
    }

    /// Waits until so many spans are acknowledged.
    fn wait_for(&self, spans: usize) {
        let state = self.state.lock().expect("no panic");
        let is_less = |state: &mut State| state.acknowledged.len() < spans;
        let (state, result) = self.changed.wait_timeout_while(state, LONG, is_less).expect("no panic");
        let spans = state.acknowledged.len();
        assert!(
            !result.timed_out(),
            "{spans} spans acknowledged, {} requests refused",
            state.refused
        );
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.state.lock().expect("no panic").acknowledged.len()
    }

    /// Returns the number of acknowledged spans that were not received.
    pub(crate) fn missing(&self, receipts: &Mutex<Receipts>) -> usize {
        let (state, receipts) = (self.state.lock().expect("no panic"), receipts.lock().expect("no panic"));
        let acknowledged = state.acknowledged.iter();
        acknowledged.filter(|span| !receipts.spans.contains_key(span)).count()
    }

    /// Sends spans of random tenants until the end. Repeats nothing, so that the gateway alone
    /// sends a span twice.
    pub(crate) fn run(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut dead = None;
        while let Some(address) = self.address(dead.as_deref()) {
            let tenant = random.random_range(0..TENANTS);
            let count = random.random_range(1..=10);
            let first = self.next.fetch_add(count, Ordering::Relaxed);
            let spans: Vec<u64> = (first..first + count).map(|number| tenant << 48 | number).collect();
            let answer = post(&address, tenant, &spans);
            let mut state = self.state.lock().expect("no panic");
            match answer {
                Ok(200) => state.acknowledged.extend(spans),
                Ok(503) => state.refused += 1,
                Ok(status) => panic!("{status}"),
                Err(_) => {
                    state.unanswered += 1;
                    dead = Some(address);
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}

/// Posts spans, and returns the status of the answer.
fn post(address: &str, tenant: u64, spans: &[u64]) -> io::Result<u16> {
    let mut list = String::new();
    for span in spans {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(
            list,
            r#"{comma}{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"{:016x}","name":"t{tenant}"}}"#,
            span + 1
        );
    }
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{list}]}}]}}]}}"#);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LONG))?;
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer a-long-token-of-t{tenant}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Receipts {
    pub(crate) fn note(&mut self, received: &Received) {
        let now = Instant::now();
        for span in &received.stored {
            let id = u64::from_str_radix(&span.span_id, 16).expect("hexadecimal") - 1;
            let tenant = format!("t{}", id >> 48);
            if received.project.as_ref() != Some(&tenant) || span.name != tenant {
                self.foreign += 1;
            }
            self.spans.entry(id).or_default().push(now);
        }
    }

    /// Returns how often spans were received again.
    pub(crate) fn again(&self) -> usize {
        self.spans.values().map(|times| times.len() - 1).sum()
    }
}

fn configure(folder: &Path, url: &str) -> String {
    let mut config = format!(
        "[defaults]\nbackend = \"otlp\"\nendpoint = \"{url}\"\n\
         [spool]\nmode = \"through\"\npath = \"spool\"\nmax_bytes = \"256MiB\"\n\
         [export]\nscheduled_delay = \"5ms\"\ntimeout = \"60s\"\n\
         [export.retry]\ninitial_backoff = \"5ms\"\nmax_backoff = \"50ms\"\n\
         [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n"
    );
    config.push_str(&tenants(folder));
    let file = folder.join("gateway.toml");
    fs::write(&file, config).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

/// Starts a receiver with a project for each tenant.
pub(crate) fn collector(receipts: &Arc<Mutex<Receipts>>) -> LocalCollector {
    let observer = Arc::clone(receipts);
    let mut collector = LocalCollector::builder()
        // The observer keeps what matters.
        .max_spans(1_000)
        .observer(move |received| observer.lock().expect("no panic").note(received));
    for tenant in 0..TENANTS {
        collector = collector.project(format!("t{tenant}"), format!("key-of-t{tenant}"));
    }
    collector.start().expect("started")
}

/// Writes the keys and tokens of all tenants. Returns their tables.
pub(crate) fn tenants(folder: &Path) -> String {
    let mut tables = String::new();
    for tenant in 0..TENANTS {
        for (file, secret) in [("key", "key-of-t"), ("token", "a-long-token-of-t")] {
            fs::write(folder.join(format!("{file}{tenant}")), format!("{secret}{tenant}")).expect("written");
        }
        let _ = write!(
            tables,
            "[tenants.t{tenant}]\napi_key = {{ file = \"key{tenant}\" }}\n\
             [gateway.callers.t{tenant}]\ntoken = {{ file = \"token{tenant}\" }}\ntenant = \"t{tenant}\"\n"
        );
    }
    tables
}

#[test]
fn no_acknowledged_span_is_lost_by_kills() {
    let kills = env::var("GATEWAY_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let receipts = Arc::new(Mutex::new(Receipts::default()));
    let collector = collector(&receipts);
    let folder = tempfile::tempdir().expect("a folder");
    let config = configure(folder.path(), &collector.url());
    let arguments = ["--config", config.as_str()];
    let load = Load::default();
    let mut random = StdRng::seed_from_u64(0);
    // When the process was killed, and when the next one was there.
    let mut deaths: Vec<(Instant, Instant)> = Vec::new();

    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let load = &load;
            scope.spawn(move || load.run(client));
        }
        // Without it, a panic here would leave the clients running.
        let _end = End(&load);
        let mut served = Served::start(&arguments);
        for _ in 0..kills {
            fail_now_and_then(&collector, &mut random);
            load.listen(Some(served.http.clone()));
            let most = if random.random_ratio(1, 8) { 2_000 } else { 200 };
            load.wait_for(load.acknowledged() + random.random_range(1..most));
            thread::sleep(Duration::from_micros(random.random_range(0..50_000)));
            let killed = Instant::now();
            served.process.kill().expect("it runs");
            served.process.wait().expect("it ends");
            load.listen(None);
            served = Served::start(&arguments);
            deaths.push((killed, Instant::now()));
        }
        load.end();
        collector.clear_faults();
        let all_arrived = collector.wait_until(LONG, |_| load.missing(&receipts) == 0);
        let lost = load.missing(&receipts);
        assert_without_secrets(&folder.path().join("spool"), &collector.addr().to_string());
        let (code, output, log) = served.stop();
        assert!(
            all_arrived,
            "{lost} of {} acknowledged spans are lost: {log}",
            load.acknowledged()
        );
        assert_eq!(code, Some(0), "{output}\n{log}");
    });
    println!(
        "{kills} kills: {}",
        report(&load, &receipts.lock().expect("no panic"), &deaths)
    );
}

pub(crate) struct End<'a>(pub(crate) &'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Asserts that no file of the spool has a token, a key, or the address of the receiver.
fn assert_without_secrets(spool: &Path, address: &str) {
    let mut files = 0;
    for file in fs::read_dir(spool).expect("a folder") {
        let path = file.expect("a file").path();
        let content = fs::read(&path).unwrap_or_default();
        for secret in ["key-of-t", "a-long-token-of-t", address] {
            let is_there = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in {}", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}

/// Makes the receiver fail until the next kill: for some requests or for all, of all tenants or of
/// one.
fn fail_now_and_then(collector: &LocalCollector, random: &mut StdRng) {
    collector.clear_faults();
    for fault in [Fault::status(503), Fault::reset()] {
        let tenant = random.random_range(0..2 * TENANTS);
        let fault = if tenant < TENANTS {
            fault.only(format!("key-of-t{tenant}"))
        } else {
            fault
        };
        match random.random_range(0..24) {
            0..8 => {}
            8..20 => drop(collector.fault(fault.times(random.random_range(1..20)))),
            _ => drop(collector.fault(fault)),
        }
    }
}

/// Counts what was received, and checks what was received again.
fn report(load: &Load, receipts: &Receipts, deaths: &[(Instant, Instant)]) -> String {
    let state = load.state.lock().expect("no panic");
    let mut earliest = Duration::ZERO;
    let (mut again, mut too_early) = (0, 0);
    for times in receipts.spans.values().filter(|times| times.len() > 1) {
        again += times.len() - 1;
        // The death in which the span was in flight, or the next one.
        let place = deaths.partition_point(|(_, next)| *next < times[0]);
        match deaths.get(place) {
            Some((killed, _)) => earliest = earliest.max(killed.saturating_duration_since(times[0])),
            None => too_early += 1,
        }
    }
    assert_eq!(receipts.foreign, 0);
    assert_eq!(too_early, 0, "spans that no kill concerns were sent again");
    assert!(earliest <= MAY_REPEAT, "{earliest:?}");
    format!(
        "{} spans acknowledged, 0 lost; {} received, {} of them foreign; {again} received again, first at \
         most {earliest:?} before a kill; {} requests without an answer, {} refused",
        state.acknowledged.len(),
        receipts.spans.len(),
        receipts.foreign,
        state.unanswered,
        state.refused,
    )
}
