//! The cost of many tenants.

use std::time::Duration;

use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, identities};
use crate::{Bench, Result};

const TENANTS: usize = 1_000;
/// Spans of a request.
const SPANS: u64 = 50;
/// Spans a second.
const RATE: u32 = 100_000;

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let server = Server::gateway(&Config::with_tenants(TENANTS), &bench.receiver)?;
    let body = Body::new(Encoding::Protobuf, SPANS)?;
    let time = bench.options.pick(Duration::from_secs(3), Duration::from_secs(6));
    let measure = |identities: &[String], time| -> Result<Option<f64>> {
        let load = Load {
            port: server.port,
            body: &body,
            identities,
            connections: 4,
            rate: Some(f64::from(RATE) / number(SPANS)),
            time,
        };
        Ok(Relayed::measure(&load, &server, &bench.receiver)?.micros)
    };
    let [many, one] = [TENANTS, 1].map(identities);
    // Makes all tracers.
    measure(&many, Duration::from_secs(1))?;
    let mut results = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for (identities, results) in [&many, &one].into_iter().zip(&mut results) {
            results.push(measure(identities, time)?);
        }
    }
    let [many, one] = results.map(median);
    let at = format!("{TENANTS} tenants, {RATE} spans/s, {SPANS} a request, plain");
    let row = Row::of("many tenants, round robin", at, "us a span", Target::RatioAtMost(2.0));
    Ok(vec![row.measured(many, "ours with 1 tenant", one)])
}
