//! The highest rate that is delivered without a loss, found by bisection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::idle::shown;
use crate::job::Job;
use crate::load::{Settle, drive, warm_up};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

/// Between these the rate is looked for, by their ratio.
const LOWEST: u32 = 40_000;
const HIGHEST: u32 = 1_280_000;
/// So many delays' worth of spans may be on their way when the last is made. More, and sending does not keep up.
const BEHIND: f64 = 1.2;
/// A rate that loses something may try again once: on a machine that others use as well, a pause is no proof.
const TRIES: usize = 2;

/// What bisection came to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Spans a second; `None` where even the lowest rate was too much.
    best: Option<f64>,
    /// What happened at the lowest rate that was too much; empty where none was.
    above: String,
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(2), Duration::from_secs(5));
    let steps = options.pick(4, 7);
    let run = |side, tracers| -> Result<Found> {
        let plan = Plan::sending(tracers, receiver.ports);
        child::measure(&Job::Highest {
            side,
            plan,
            time,
            steps,
        })
    };
    let mut found: [Vec<Found>; 5] = Default::default();
    let places = [
        (Side::Ours, 1),
        (Side::Stock, 1),
        (Side::Ours, 1_000),
        (Side::Stock, 1_000),
        (Side::Ours, 10_000),
    ];
    for _ in 0..options.long_rounds() {
        for ((side, tracers), all) in places.iter().zip(&mut found) {
            all.push(run(*side, *tracers)?);
        }
    }
    let [one, stock_one, thousand, stock_thousand, ten_thousand] = &found;
    let best = |all: &[Found]| median(all.iter().map(|found| found.best));
    let row = |tracers, least, ours: &[Found], peer_name, peer: &[Found]| {
        let above = |all: &[Found]| all.last().map(|found| found.above.clone()).unwrap_or_default();
        Row::of(
            "highest rate without a loss",
            shown(tracers),
            "spans/s",
            Target::RatioAtLeast(least),
        )
        .note(format!("ours {}; {peer_name} {}", above(ours), above(peer)))
        .measured(best(ours), peer_name, best(peer))
    };
    Ok(vec![
        row(1, 1.1, one, "stock batch processor", stock_one),
        row(1_000, 1.3, thousand, "stock batch processor", stock_thousand),
        row(10_000, 0.6, ten_thousand, "ours with 1 tracer", one),
    ])
}

pub(crate) fn measure<F: Fleet>(plan: &Plan, time: Duration, steps: u32) -> Result<Found> {
    let fleet = F::make(plan)?;
    warm_up(&fleet, plan, u64::from(LOWEST), Settle::Flush);
    let (mut low, mut high) = (f64::from(LOWEST), f64::from(HIGHEST));
    let mut found = Found::default();
    for _ in 0..steps {
        let rate = (low * high).sqrt();
        match sustained(&fleet, plan, rate, time)? {
            Ok(delivered) => (low, found.best) = (rate, Some(delivered)),
            Err(too_much) => (high, found.above) = (rate, too_much),
        }
    }
    Ok(found)
}

/// The rate in fact delivered, where nothing was lost, and making and sending kept up; else what happened.
fn sustained<F: Fleet>(fleet: &F, plan: &Plan, rate: f64, time: Duration) -> Result<std::result::Result<f64, String>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between the lowest and the highest"
    )]
    let wanted = rate as u64;
    let mut happened = String::new();
    for _ in 0..TRIES {
        let driven = drive(fleet, plan, wanted, time, Settle::Flush)?;
        let kept_up = number(driven.behind) <= rate * plan.delay.as_secs_f64() * BEHIND;
        if driven.lost() == 0 && driven.rate() > rate * 0.95 && kept_up {
            return Ok(Ok(driven.rate()));
        }
        let (made, lost, behind) = (driven.rate(), driven.lost(), driven.behind);
        happened = format!("asked for {wanted}/s made {made:.0}/s, was {behind} behind at the end and lost {lost}");
    }
    Ok(Err(happened))
}
