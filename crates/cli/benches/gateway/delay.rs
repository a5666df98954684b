//! The delay that the gateway adds.

use std::time::Duration;

use crate::body::{Body, Encoding};
use crate::load::{Load, Relayed};
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, identities};
use crate::{Bench, Result};

/// Spans of a request: a full batch, which waits for no other.
const SPANS: u64 = 512;
/// Pairs of runs with and without the gateway.
const PAIRS: usize = 5;

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let receiver = &bench.receiver;
    let server = Server::gateway(&Config::with_tenants(1), receiver)?;
    let body = Body::new(Encoding::Protobuf, SPANS)?;
    let identities = identities(1);
    let load = |port, rate, time| Load {
        port,
        body: &body,
        identities: &identities,
        connections: 4,
        rate,
        time,
    };
    let time = bench.options.pick(Duration::from_secs(2), Duration::from_secs(10));
    let mut rates = Vec::new();
    for _ in 0..bench.rounds() {
        let highest = Relayed::measure(&load(server.port, None, time), &server, receiver)?;
        rates.push(Some(number(highest.sent.spans) / highest.sent.elapsed.as_secs_f64()));
    }
    let highest = median(rates).ok_or("no rate")?;
    let half = highest / number(SPANS) / 2.0;
    let (mut through, mut added) = (Vec::new(), Vec::new());
    let p99 = |port| -> Result<f64> {
        let relayed = Relayed::measure(&load(port, Some(half), time), &server, receiver)?;
        Ok(relayed.received.p99_millis)
    };
    for _ in 0..PAIRS {
        let (with, without) = (p99(server.port)?, p99(receiver.port)?);
        through.push(Some(with));
        added.push(Some(with - without));
    }
    let at = format!("{:.0} spans/s, half the highest rate", highest / 2.0);
    let added = Row::of("p99 of the delay that is added", at, "ms", Target::AtMost(5.0))
        .note(format!(
            "from a request's start to its receipt: {:.2} ms through the gateway",
            median(through).unwrap_or(f64::NAN)
        ))
        .measured(median(added), "", None);
    Ok(vec![added])
}
