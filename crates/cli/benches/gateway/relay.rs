//! Processor time of a span from a client to the receiver, and memory.

use std::time::Duration;

use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, identities};
use crate::{Bench, Result, process};

/// Spans of a request.
const SPANS: u64 = 512;
/// Spans a second.
const RATE: u32 = 100_000;
/// Duration of the unmeasured load before the first measurement of a process.
const WARM_UP: Duration = Duration::from_millis(500);

/// A row and its load.
struct Case {
    what: &'static str,
    encoding: Encoding,
    compression: &'static str,
    target: Target,
}

const CASES: [Case; 4] = [
    Case {
        what: "gzip in, gzip out unchanged",
        encoding: Encoding::GzipProtobuf,
        compression: "gzip",
        target: Target::RatioAtMost(0.25),
    },
    Case {
        what: "plain in, gzip out",
        encoding: Encoding::Protobuf,
        compression: "gzip",
        target: Target::RatioAtMost(0.6),
    },
    Case {
        what: "plain in, plain out",
        encoding: Encoding::Protobuf,
        compression: "none",
        target: Target::RatioAtMost(0.4),
    },
    Case {
        what: "JSON in, protobuf out, gzip",
        encoding: Encoding::Json,
        compression: "gzip",
        target: Target::RatioAtMost(1.0),
    },
];

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let ours = |compression| -> Result<Server> {
        let config = Config::with_tenants(1).compression(compression);
        Server::gateway(&config, &bench.receiver)
    };
    let peer = |compression| -> Result<Option<Server>> {
        let start = |program| Server::rotel(program, compression, &bench.receiver);
        bench.rotel.as_deref().map(start).transpose()
    };
    let sides = [
        ("gzip", ours("gzip")?, peer("gzip")?),
        ("none", ours("none")?, peer("none")?),
    ];
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_secs(5));
    let bodies = CASES.iter().map(|case| Body::new(case.encoding, SPANS));
    let bodies: Vec<Body> = bodies.collect::<Result<_>>()?;
    let mut measured: Vec<[Vec<Relayed>; 2]> = CASES.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for round in 0..=bench.rounds() {
        for ((case, body), results) in CASES.iter().zip(&bodies).zip(&mut measured) {
            let side = sides.iter().find(|(compression, ..)| *compression == case.compression);
            let (_, ours, peer) = side.ok_or("no process for a case")?;
            let time = if round == 0 { WARM_UP } else { time };
            for (server, results) in [Some(ours), peer.as_ref()].into_iter().zip(results) {
                let Some(server) = server else { continue };
                let load = Load {
                    port: server.port,
                    body,
                    identities: &identities(1),
                    connections: 4,
                    rate: Some(f64::from(RATE) / number(SPANS)),
                    time,
                };
                let relayed = Relayed::measure(&load, server, &bench.receiver)?;
                if round > 0 {
                    results.push(relayed);
                }
            }
        }
    }
    let mut rows: Vec<Row> = CASES
        .iter()
        .zip(&measured)
        .map(|(case, results)| row(case, results))
        .collect();
    let [ours, peer] = [Some(&sides[0].1), sides[0].2.as_ref()]
        .map(|server| server.and_then(|server| process::resident_bytes(server.id())));
    let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| number(bytes) / f64::from(1 << 20));
    let memory = Row::of(
        "resident memory after the load",
        "gzip out",
        "MiB",
        Target::RatioAtMost(1.0),
    );
    rows.push(memory.measured(mebibytes(ours), "rotel", mebibytes(peer)));
    let threads = Row::of("threads under load", "gzip out", "threads", Target::AtMost(6.0));
    let [ours, peer] = [Some(&sides[0].1), sides[0].2.as_ref()]
        .map(|server| server.and_then(|server| process::threads(server.id())).map(number));
    rows.push(threads.measured(ours, "rotel", peer));
    Ok(rows)
}

fn row(case: &Case, [ours, peer]: &[Vec<Relayed>; 2]) -> Row {
    let micros = |results: &[Relayed]| median(results.iter().map(|relayed| relayed.micros));
    let at = format!("{RATE} spans/s, {SPANS} a request");
    let (ours_micros, peer_micros) = (micros(ours), micros(peer));
    let must_be_compressed = case.compression == "gzip";
    let differs = |results: &[Relayed]| {
        results
            .iter()
            .any(|relayed| relayed.is_compressed() != must_be_compressed)
    };
    let mut target = case.target;
    let mut note = String::new();
    if differs(ours) {
        note.push_str("the gateway did not send what the row says");
        return Row::of(case.what, at, "us a span", target)
            .note(note)
            .measured(None, "", None);
    }
    let comparable = peer_micros.filter(|_| !differs(peer));
    if let Some(micros) = peer_micros.filter(|_| comparable.is_none()) {
        note = format!("rotel sends gzip although its flag says `none`: {micros:.2} us a span");
        target = Target::AtMost(1.0);
    }
    let row = Row::of(case.what, at, "us a span", target).note(note);
    row.measured(ours_micros, "rotel", comparable)
}
