//! The admin listener: its answers with many tenants, and what it costs the requests of clients.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::receiver::LOUD_KEY;
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, free_port, identities};
use crate::{Bench, Result};

/// Tenants with a tracer.
const MANY: usize = 100_000;
/// Requests a second that make the tracers.
const MAKE_RATE: f64 = 10_000.0;
/// Times that a page is asked for, of which the median counts.
const ASKED: usize = 5;
/// Target of each page, in milliseconds.
const PAGE: Target = Target::AtMost(200.0);
/// Pages, each with its name in the table.
const PAGES: [(&str, &str); 9] = [
    ("page of tenants by name", "/api/tenants"),
    ("page of tenants by queued bytes", "/api/tenants?order=queued_bytes"),
    ("page of tenants by queue", "/api/tenants?order=queued"),
    ("page of tenants by drops", "/api/tenants?order=dropped"),
    ("page of tenants by deliveries", "/api/tenants?order=delivered"),
    ("page of tenants by age", "/api/tenants?order=oldest_queued"),
    (
        "page of failing tenants with a text",
        "/api/tenants?only=failing&contains=99",
    ),
    ("attention", "/api/attention"),
    ("metrics", "/metrics"),
];

/// A gateway with an admin listener.
pub(crate) struct Watched {
    pub(crate) server: Server,
    admin: u16,
}

impl Watched {
    pub(crate) fn start(mut config: Config, bench: &Bench) -> Result<Self> {
        let admin = free_port()?;
        let callers = &config.callers;
        config.callers = format!(
            "{callers}[gateway.admin]\nlisten = \"127.0.0.1:{admin}\"\ntoken = {{ env = \"GATEWAY_BENCH_LOUD_KEY\" }}\n"
        );
        let server = Server::gateway(&config, &bench.receiver)?;
        Ok(Self { server, admin })
    }

    fn get(&self, path: &str) -> Result<(String, Duration)> {
        self.ask("GET", path)
    }

    /// Returns the content of an answer, and the time to its last byte.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Result<(String, Duration)> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {LOUD_KEY}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took = begun.elapsed();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("the answer of the admin listener is cut")?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("{path}: {answer}").into());
        }
        Ok((body.to_owned(), took))
    }
}

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = pages(bench)?;
    rows.push(durations(bench)?);
    Ok(rows)
}

/// Measures the pages, and clients beside a program that asks for them without pause.
fn pages(bench: &Bench) -> Result<Vec<Row>> {
    let mut config = Config::with_tenants(0);
    config.tenants = format!("[tenants.\"*\"]\n[pool]\nmax_tracers = {}\n", 2 * MANY);
    let watched = Watched::start(config, bench)?;
    let body = Body::new(Encoding::Protobuf, 1)?;
    let identities = identities(MANY);
    let load = |rate: f64, time| Load {
        port: watched.server.port,
        body: &body,
        identities: &identities,
        connections: 4,
        rate: Some(rate),
        time,
    };
    let made = load(MAKE_RATE, Duration::from_secs_f64(number(MANY as u64) / MAKE_RATE));
    Relayed::measure(&made, &watched.server, &bench.receiver)?;
    let found: Value = serde_json::from_str(&watched.get("/api/tenants?limit=1")?.0)?;
    if found["found"] != MANY {
        return Err(format!("{} of {MANY} tenants have a tracer", found["found"]).into());
    }
    let mut rows = Vec::new();
    for (what, path) in PAGES {
        let mut took = Vec::new();
        for _ in 0..ASKED {
            took.push(Some(watched.get(path)?.1.as_secs_f64() * 1e3));
        }
        let row = Row::of(what, format!("{MANY} tenants"), "ms", PAGE);
        rows.push(row.measured(median(took), "", None));
    }
    let time = bench.options.pick(Duration::from_secs(3), Duration::from_secs(10));
    let p99 = |paths: &[&str]| -> Result<f64> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let asks = scope.spawn(|| -> Result<()> {
                for path in paths.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    watched.get(path)?;
                }
                Ok(())
            });
            let sent = load(1_000.0, time).run();
            done.store(true, Ordering::Relaxed);
            asks.join().map_err(|_| "the program that asks panicked")??;
            Ok(sent?.answers.quantile(990))
        })
    };
    let paths = PAGES.map(|(_, path)| path);
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        beside.push(Some(p99(&paths)?));
        alone.push(Some(p99(&[])?));
    }
    let at = format!("{MANY} tenants, 1000 requests/s of one span");
    let what = "p99 to the answer, while a program asks for all pages without pause";
    let row = Row::of(what, at, "ms", Target::RatioAtMost(1.2));
    rows.push(row.measured(median(beside), "ours, without it", median(alone)));
    Ok(rows)
}

/// Measures what counting and timing requests costs, which an admin listener turns on.
fn durations(bench: &Bench) -> Result<Row> {
    const SPANS: u64 = 50;
    const RATE: f64 = 100_000.0;

    let on = Watched::start(Config::with_tenants(1), bench)?;
    let off = Server::gateway(&Config::with_tenants(1), &bench.receiver)?;
    let body = Body::new(Encoding::Protobuf, SPANS)?;
    let identities = identities(1);
    let measure = |server: &Server| -> Result<Option<f64>> {
        let load = Load {
            port: server.port,
            body: &body,
            identities: &identities,
            connections: 4,
            rate: Some(RATE / number(SPANS)),
            time: bench.options.pick(Duration::from_secs(3), Duration::from_secs(6)),
        };
        Ok(Relayed::measure(&load, server, &bench.receiver)?.micros)
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        with.push(measure(&on.server)?);
        without.push(measure(&off)?);
    }
    let at = format!("{RATE} spans/s, {SPANS} a request, plain");
    let row = Row::of(
        "relay with an admin listener",
        at,
        "us a span",
        Target::RatioAtMost(1.02),
    );
    Ok(row.measured(median(with), "ours without it", median(without)))
}
