//! The spool: what `through` costs beside memory, and a large backlog.

use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::admin::Watched;
use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, free_port, identities};
use crate::{Bench, Result};

/// Spans of a request.
const SPANS: u64 = 512;
/// Clients at once. A commit takes the requests of all of them.
const CONNECTIONS: usize = 16;
/// Pairs of runs with and without the spool.
const PAIRS: usize = 5;
/// Tenants with a backlog, and as many without one.
const TENANTS: usize = 1_000;
/// Bytes of a request of the backlog. They cannot be compressed.
const LARGE: usize = 256 << 10;
/// Requests a second of the tenants without a backlog.
const FRESH_RATE: f64 = 500.0;
/// Spans of each of these.
const FRESH_SPANS: u64 = 50;
/// Tenants that are erased, of which the median counts.
const ERASED: usize = 5;
/// Time in which more of a backlog arrives.
const STALL: Duration = Duration::from_secs(10);

/// A folder on the disk of the build output, which is no file system in memory.
fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

fn spool(folder: &TempDir, max_bytes: u64) -> String {
    let path = folder.path().join("spool");
    format!(
        "[spool]\nmode = \"through\"\npath = \"{}\"\nmax_bytes = \"{max_bytes}\"\n",
        path.display()
    )
}

/// A gateway with the spool and one without, under the same load in turns.
pub(crate) fn cost(bench: &Bench) -> Result<Vec<Row>> {
    let receiver = &bench.receiver;
    let folder = folder()?;
    let config = || Config::with_tenants(1).compression("gzip");
    let through = Config {
        spool: spool(&folder, 4 << 30),
        ..config()
    };
    let through = Server::gateway(&through, receiver)?;
    let memory = Server::gateway(&config(), receiver)?;
    let (plain, gzip) = (
        Body::new(Encoding::Protobuf, SPANS)?,
        Body::new(Encoding::GzipProtobuf, SPANS)?,
    );
    let identities = identities(1);
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_secs(10));
    let load = |server: &Server, body, rate| Load {
        port: server.port,
        body,
        identities: &identities,
        connections: CONNECTIONS,
        rate,
        time,
    };
    let (mut highest_through, mut highest_memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        highest_through.push(Some(load(&through, &plain, None).highest(receiver)?));
        highest_memory.push(Some(load(&memory, &plain, None).highest(receiver)?));
    }
    let (highest_through, highest_memory) = (median(highest_through), median(highest_memory));
    let at = format!("{CONNECTIONS} clients, {SPANS} spans a request, plain in, gzip out");
    let mut rows = vec![
        Row::of("highest rate, through", at, "spans/s", Target::RatioAtLeast(0.5)).measured(
            highest_through,
            "ours in memory",
            highest_memory,
        ),
    ];

    let half = highest_through.ok_or("no rate")? / 2.0;
    let measure =
        |server: &Server, body| Relayed::measure(&load(server, body, Some(half / number(SPANS))), server, receiver);
    let (mut added, mut answers) = (Vec::new(), Vec::new());
    let mut micros: [[Vec<Option<f64>>; 2]; 2] = Default::default();
    for _ in 0..PAIRS {
        for (body, micros) in [&plain, &gzip].into_iter().zip(&mut micros) {
            let (with, without) = (measure(&through, body)?, measure(&memory, body)?);
            micros[0].push(with.micros);
            micros[1].push(without.micros);
            if body.is_plain() {
                added.push(Some(with.received.p99_millis - without.received.p99_millis));
                answers.push(Some(with.sent.answers.quantile(990)));
            }
        }
    }
    let at = format!("{half:.0} spans/s, half the highest rate, {SPANS} a request");
    let note = format!("p99 to the answer: {:.2} ms", median(answers).unwrap_or(f64::NAN));
    let what = "p99 of the delay that is added, through";
    rows.push(
        Row::of(what, at.clone(), "ms", Target::AtMost(15.0))
            .note(note)
            .measured(median(added), "", None),
    );
    let [of_plain, of_gzip] = micros;
    for (what, [with, without]) in [
        ("plain in, gzip out, through", of_plain),
        ("gzip in, gzip out unchanged, through", of_gzip),
    ] {
        let row = Row::of(what, at.clone(), "us a span", Target::RatioAtMost(2.0));
        rows.push(row.measured(median(with), "ours in memory", median(without)));
    }
    Ok(rows)
}

/// A backlog of many tenants: start, erase, and fresh spans of others while it drains.
pub(crate) fn backlog(bench: &Bench) -> Result<Vec<Row>> {
    let receiver = &bench.receiver;
    let bytes: u64 = bench.options.pick(512 << 20, 5 << 30);
    let folder = folder()?;
    let config = |endpoint| {
        let mut config = Config::with_tenants(TENANTS);
        for tenant in TENANTS..2 * TENANTS {
            let table = format!("[tenants.{tenant}]\napi_key = {{ env = \"GATEWAY_BENCH_LOUD_KEY\" }}\n");
            config.tenants.push_str(&table);
        }
        Config {
            spool: spool(&folder, 4 * bytes),
            delay: "10ms",
            endpoint,
            ..config
        }
    };
    let nowhere = Some(format!("http://127.0.0.1:{}", free_port()?));
    let identities = identities(2 * TENANTS);
    let (fresh, old) = identities.split_at(TENANTS);
    // The process is killed, so the start includes recovery.
    let filled = fill(&config(nowhere.clone()), bench, old, bytes)?;
    let body = Body::new(Encoding::Protobuf, FRESH_SPANS)?;
    let load = |port, identities, rate, time| Load {
        port,
        body: &body,
        identities,
        connections: 4,
        rate: Some(rate),
        time,
    };

    let mut rows = Vec::new();
    let gibibytes = number(filled * LARGE as u64) / number(1 << 30);
    let at = format!("{gibibytes:.1} GiB of {TENANTS} tenants on disk");
    {
        let watched = Watched::start(config(nowhere.clone()), bench)?;
        let begun = Instant::now();
        load(watched.server.port, old, 1.0, Duration::from_millis(1)).run()?;
        let first = watched.server.started_in + begun.elapsed();
        let row = Row::of(
            "start until the first 200, after a kill",
            at.clone(),
            "s",
            Target::AtMost(2.0),
        );
        rows.push(row.measured(Some(first.as_secs_f64()), "", None));
        let mut took = Vec::new();
        for tenant in TENANTS..TENANTS + ERASED {
            let (_, answered) = watched.ask("POST", &format!("/api/tenants/{tenant}/purge"))?;
            took.push(Some(answered.as_secs_f64() * 1e3));
        }
        let row = Row::of("erase of one tenant", at.clone(), "ms", Target::AtMost(100.0));
        rows.push(row.measured(median(took), "", None));
    }

    let server = Server::gateway(&config(None), receiver)?;
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_secs(5));
    let measure = || -> Result<(f64, f64, u64)> {
        receiver.reset()?;
        let sent = load(server.port, fresh, FRESH_RATE, time).run()?;
        let arrived = receiver.wait_for_others(sent.spans)?;
        if arrived.others != sent.spans {
            return Err(format!("{} spans were accepted and {} arrived", sent.spans, arrived.others).into());
        }
        let answers = sent.answers.quantile(990);
        Ok((arrived.p99_millis, answers, arrived.spans - arrived.others))
    };
    let (mut beside, mut answers, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (p99, answer, spans) = measure()?;
        if spans == 0 {
            break;
        }
        beside.push(Some(p99));
        answers.push(Some(answer));
        rates.push(Some(
            number(spans * LARGE as u64) / number(1 << 20) / time.as_secs_f64(),
        ));
    }
    wait_for_the_rest(bench)?;
    let mut alone = Vec::new();
    for _ in 0..bench.rounds() {
        alone.push(Some(measure()?.0));
    }
    let note = format!(
        "drained at {:.0} MiB/s meanwhile; p99 to the answer: {:.2} ms",
        median(rates).unwrap_or(f64::NAN),
        median(answers).unwrap_or(f64::NAN),
    );
    let what = "p99 of healthy tenants to the receipt, while the backlog drains";
    let at = format!("{at}, {TENANTS} others with {FRESH_RATE} requests/s of {FRESH_SPANS} spans");
    let row = Row::of(what, at, "ms", Target::RatioAtMost(1.2)).note(note);
    rows.push(row.measured(median(beside), "ours, after it", median(alone)));
    Ok(rows)
}

/// Leaves at least so many bytes on the disk of a gateway without a receiver. Returns the number of
/// spans.
fn fill(config: &Config, bench: &Bench, identities: &[String], bytes: u64) -> Result<u64> {
    let server = Server::gateway(config, &bench.receiver)?;
    let body = Body::random(LARGE)?;
    let load = Load {
        port: server.port,
        body: &body,
        identities,
        connections: CONNECTIONS,
        rate: None,
        time: Duration::from_secs(2),
    };
    let mut sent = 0;
    while sent * (LARGE as u64) < bytes {
        let spans = load.run()?.spans;
        if spans == 0 {
            return Err("the gateway takes no more".into());
        }
        sent += spans;
    }
    Ok(sent)
}

/// Waits until no more of the backlog arrives.
fn wait_for_the_rest(bench: &Bench) -> Result<()> {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < STALL {
        let spans = bench.receiver.received()?.spans;
        if spans != last {
            (last, since) = (spans, Instant::now());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
