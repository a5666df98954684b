//! Callers beside one that sends a hundred times as much.

use std::thread;
use std::time::Duration;

use crate::body::{Body, Encoding};
use crate::load::Load;
use crate::receiver::LOUD_KEY;
use crate::row::{Row, Target, median, number};
use crate::server::{Config, Server, identities};
use crate::{Bench, Result};

/// Callers besides the loud one.
const OTHERS: usize = 9;
/// Requests a second of each.
const RATE: f64 = 10.0;
/// How much more the loud one sends.
const LOUDER: f64 = 100.0;
/// Spans of a request.
const SPANS: u64 = 50;

/// Delays of the other callers, in milliseconds.
struct Others {
    receipt: f64,
    answer: f64,
}

pub(crate) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let beside = row(
        bench,
        "",
        "others' p99 to the receipt, one caller at 100 times their rate",
        Target::RatioAtMost(1.2),
    )?;
    let quota = format!("[tenants.loud.quota]\nspans_per_second = {}\n", RATE * number(SPANS));
    let limited = row(
        bench,
        &quota,
        "others' p99 to the receipt, one tenant at 100 times its quota",
        Target::RatioAtMost(1.1),
    )?;
    Ok(vec![beside, limited])
}

/// Measures the others with the loud one, and with all at one rate. `quota` is the table of the loud
/// one's quota, if it has one.
fn row(bench: &Bench, quota: &str, what: &'static str, target: Target) -> Result<Row> {
    let receiver = &bench.receiver;
    let mut config = Config::with_tenants(OTHERS);
    config.delay = "10ms";
    config
        .tenants
        .push_str("[tenants.loud]\napi_key = { env = \"GATEWAY_BENCH_LOUD_KEY\" }\n");
    config.tenants.push_str(quota);
    config
        .callers
        .push_str("[gateway.callers.loud]\ntoken = { env = \"GATEWAY_BENCH_LOUD_KEY\" }\ntenant = \"loud\"\n");
    let server = Server::gateway(&config, receiver)?;
    let body = Body::new(Encoding::Protobuf, SPANS)?;
    let time = bench.options.pick(Duration::from_secs(3), Duration::from_secs(10));
    let (quiet, loud) = (identities(OTHERS), [format!("authorization: Bearer {LOUD_KEY}\r\n")]);
    let client = |identities, rate| Load {
        port: server.port,
        body: &body,
        identities,
        connections: 4,
        rate: Some(rate),
        time,
    };
    let measure = |factor: f64| -> Result<Others> {
        receiver.reset()?;
        let sent = thread::scope(|scope| -> Result<_> {
            let loud = scope.spawn(|| client(&loud, RATE * factor).run());
            let others = client(&quiet, RATE * number(OTHERS as u64)).run()?;
            Ok([others, loud.join().map_err(|_| "a client panicked")??])
        })?;
        let spans = sent.iter().map(|sent| sent.spans).sum();
        let arrived = receiver.wait_for(spans)?;
        if arrived.spans != spans {
            return Err(format!("{spans} spans were accepted and {} arrived", arrived.spans).into());
        }
        let refused = sent[1].refused;
        // At exactly the rate of its quota, a request that comes early may be refused.
        let may_refuse = !quota.is_empty();
        let must_refuse = may_refuse && factor > 1.0;
        if (refused > 0 && !may_refuse) || (refused == 0 && must_refuse) {
            return Err(format!("{refused} requests of the loud one were refused").into());
        }
        Ok(Others {
            receipt: arrived.p99_millis,
            answer: sent[0].answers.quantile(990),
        })
    };
    measure(LOUDER)?;
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        beside.push(measure(LOUDER)?);
        alone.push(measure(1.0)?);
    }
    let at = format!("{OTHERS} others with {RATE} requests/s of {SPANS} spans, plain");
    let median_of = |all: &[Others], pick: fn(&Others) -> f64| median(all.iter().map(|others| Some(pick(others))));
    let [receipts, answers] = [|others: &Others| others.receipt, |others: &Others| others.answer]
        .map(|pick| [&beside, &alone].map(|all| median_of(all, pick)));
    let note = format!(
        "p99 to the answer: {:.2} ms, and {:.2} ms if all send at one rate",
        answers[0].unwrap_or(f64::NAN),
        answers[1].unwrap_or(f64::NAN)
    );
    let row = Row::of(what, at, "ms", target).note(note);
    Ok(row.measured(receipts[0], "ours, all at one rate", receipts[1]))
}
