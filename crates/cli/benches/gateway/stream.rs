//! The stream: what one and three NATS servers cost beside memory. Needs `nats-server`.

use std::env;
use std::process::Command;
use std::time::Duration;

use tokio::runtime::Builder;
use tracer_registry_stream::test::TestCluster;

use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::process::Cpu;
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, identities};
use crate::{Bench, Result};

/// Spans of a request.
const SPANS: u64 = 512;
/// Clients at once. Several requests wait for the servers' disks together.
const CONNECTIONS: usize = 16;
/// Tenants, so that all partitions have some.
const TENANTS: usize = 64;
/// Partitions of the stream.
const PARTITIONS: usize = 8;
/// A ratio that is measured, and has no target.
const NONE: Target = Target::RatioAtLeast(0.0);

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    if !has_nats_server() {
        println!("no rows of the stream: there is no nats-server on the path or in NATS_SERVER\n");
        return Ok(Vec::new());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let memory = Server::gateway(&config(), &bench.receiver)?;
    let mut rows = Vec::new();
    for nodes in [1, 3] {
        let servers = runtime.block_on(TestCluster::start(nodes));
        rows.extend(beside_memory(bench, &memory, &servers)?);
    }
    Ok(rows)
}

#[expect(clippy::disallowed_methods, reason = "where programs are found is no configuration")]
fn has_nats_server() -> bool {
    let program = env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    Command::new(program).arg("--version").output().is_ok()
}

fn config() -> Config {
    Config::with_tenants(TENANTS).compression("gzip")
}

/// A gateway with the stream and one without, under the same load in turns.
fn beside_memory(bench: &Bench, memory: &Server, servers: &TestCluster) -> Result<Vec<Row>> {
    let receiver = &bench.receiver;
    let table = format!(
        "[gateway.stream]\nservers = {:?}\nmonitor = {:?}\nreplicas = {}\npartitions = {PARTITIONS}\n\
         max_bytes = \"4GiB\"\nmax_parked_bytes = \"1GiB\"\n",
        servers.urls(),
        servers.monitor_urls(),
        servers.nodes(),
    );
    let stream = Config {
        stream: table,
        ..config()
    };
    let stream = Server::gateway(&stream, receiver)?;
    let body = Body::new(Encoding::Protobuf, SPANS)?;
    let identities = identities(TENANTS);
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_secs(10));
    let load = |server: &Server, rate| Load {
        port: server.port,
        body: &body,
        identities: &identities,
        connections: CONNECTIONS,
        rate,
        time,
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        with.push(Some(load(&stream, None).highest(receiver)?));
        without.push(Some(load(memory, None).highest(receiver)?));
    }
    let (with, without) = (median(with), median(without));
    let half = with.ok_or("no rate")? / 2.0;
    let rate = Some(half / number(SPANS));
    let (mut added, mut answers, mut of_servers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut micros, mut micros_in_memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let before = times(servers);
        let with = Relayed::measure(&load(&stream, rate), &stream, receiver)?;
        of_servers.push(before.zip(times(servers)).map(|(before, after)| {
            let time: Duration = after
                .iter()
                .zip(&before)
                .map(|(after, before)| after.since(before))
                .sum();
            time.as_secs_f64() * 1e6 / number(with.received.spans)
        }));
        let without = Relayed::measure(&load(memory, rate), memory, receiver)?;
        added.push(Some(with.received.p99_millis - without.received.p99_millis));
        answers.push(Some(with.sent.answers.quantile(990)));
        micros.push(with.micros);
        micros_in_memory.push(without.micros);
    }
    let at = |more: String| format!("{} NATS servers that sync each write, {more}", servers.nodes());
    let highest_at = at(format!("{CONNECTIONS} clients, {SPANS} spans a request"));
    let at = at(format!("{half:.0} spans/s"));
    let row = |what, unit, target| Row::of(what, at.clone(), unit, target);
    Ok(vec![
        Row::of("highest rate, stream", highest_at, "spans/s", NONE).measured(with, "ours in memory", without),
        row("p99 to the answer, stream", "ms", Target::AtMost(2000.0)).measured(median(answers), "", None),
        row("p99 of the delay that is added, stream", "ms", Target::AtMost(2000.0)).measured(median(added), "", None),
        row("processor time, stream", "us a span", NONE).measured(
            median(micros),
            "ours in memory",
            median(micros_in_memory),
        ),
        row(
            "processor time of all NATS servers",
            "us a span",
            Target::AtMost(1000.0),
        )
        .measured(median(of_servers), "", None),
    ])
}

/// Returns the processor time of each server so far.
fn times(servers: &TestCluster) -> Option<Vec<Cpu>> {
    (0..servers.nodes())
        .map(|node| Cpu::of(servers.process_id(node)))
        .collect()
}
