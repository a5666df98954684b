//! What tenants get delivered while the receiver of others accepts connections and never answers.

use std::time::Duration;

use crate::control::Receiver;
use crate::fleet::{Holes, Plan, Side};
use crate::job::Job;
use crate::load::{Driven, Settle};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const RATE: u64 = 50_000;
const AT: &str = "900 healthy of 1,000 tenants, 50,000/s";

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(6), Duration::from_secs(20));
    let plan = Plan::sending(1_000, receiver.ports);
    let run = |side, holes| -> Result<Driven> {
        let plan = Plan { holes, ..plan };
        child::measure(&Job::Steady {
            side,
            plan,
            rate: RATE,
            time,
            settle: Settle::Wait,
        })
    };
    let (mut with, mut without, mut stock) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.long_rounds() {
        with.push(run(Side::Ours, Holes::ATenth)?);
        without.push(run(Side::Ours, Holes::None)?);
        stock.push(run(Side::Stock, Holes::ATenth)?);
    }
    let delay = |all: &[Driven]| median(all.iter().map(|driven| Some(driven.received.p99_millis)));
    let part = |all: &[Driven]| {
        median(
            all.iter()
                .map(|driven| Some(number(driven.received.spans) / number(driven.made_healthy.max(1)) * 100.0)),
        )
    };
    let beside =
        |name: &str, value: Option<f64>| format!("stock {name} in the same place: {:.2}", value.unwrap_or(f64::NAN));
    let delays = Row::new(
        "p99 from a span's end to its receipt, 100 black-holed",
        AT,
        "ms",
        Target::RatioAtMost(1.2),
    )
    .note(beside("batch processors", delay(&stock)));
    let parts = Row::new(
        "delivered 3 s after the last, 100 black-holed",
        AT,
        "%",
        Target::RatioAtLeast(0.9999),
    )
    .note(beside("batch processors", part(&stock)));
    Ok(vec![
        delays.measured(delay(&with), "ours, none black-holed", delay(&without)),
        parts.measured(part(&with), "ours, none black-holed", part(&without)),
    ])
}
