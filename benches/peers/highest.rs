//! The highest rate delivered without loss, found by bisection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::idle::shown;
use crate::job::Job;
use crate::load::{Settle, run_load, warm_up};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

/// Limits of the search, bisected by ratio.
const LOWEST: u32 = 40_000;
const HIGHEST: u32 = 1_280_000;
/// Limit on spans still undelivered at the end, in multiples of the delay. Above it, sending does
/// not keep up.
const BEHIND: f64 = 1.2;
/// A rate with a loss is tried once more, because other programs may have caused a pause.
const TRIES: usize = 2;

/// Result of the bisection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BestRate {
    /// Spans per second. `None` if even the lowest rate was too high.
    best: Option<f64>,
    /// Description of the lowest rate that was too high. Empty if there was none.
    above: String,
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(2), Duration::from_secs(5));
    let steps = options.pick(4, 7);
    let run = |side, tracers| -> Result<BestRate> {
        let plan = Plan::sending(tracers, receiver.ports);
        child::measure(&Job::Highest {
            side,
            plan,
            time,
            steps,
        })
    };
    let mut found: [Vec<BestRate>; 5] = Default::default();
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
    let best = |all: &[BestRate]| median(all.iter().map(|found| found.best));
    let row = |tracers, least, ours: &[BestRate], peer_name, peer: &[BestRate]| {
        let above = |all: &[BestRate]| all.last().map(|found| found.above.clone()).unwrap_or_default();
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

pub(crate) fn measure<F: Fleet>(plan: &Plan, time: Duration, steps: u32) -> Result<BestRate> {
    let fleet = F::make(plan)?;
    warm_up(&fleet, plan, u64::from(LOWEST), Settle::Flush);
    let (mut low, mut high) = (f64::from(LOWEST), f64::from(HIGHEST));
    let mut found = BestRate::default();
    for _ in 0..steps {
        let rate = (low * high).sqrt();
        match sustained(&fleet, plan, rate, time)? {
            Ok(delivered) => (low, found.best) = (rate, Some(delivered)),
            Err(too_much) => (high, found.above) = (rate, too_much),
        }
    }
    Ok(found)
}

/// Returns the delivered rate if nothing was lost and both creating and sending kept up. Otherwise
/// describes the failure.
fn sustained<F: Fleet>(fleet: &F, plan: &Plan, rate: f64, time: Duration) -> Result<std::result::Result<f64, String>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between LOWEST and HIGHEST"
    )]
    let wanted = rate as u64;
    let mut happened = String::new();
    for _ in 0..TRIES {
        let result = run_load(fleet, plan, wanted, time, Settle::Flush)?;
        let kept_up = number(result.behind) <= rate * plan.delay.as_secs_f64() * BEHIND;
        if result.lost() == 0 && result.rate() > rate * 0.95 && kept_up {
            return Ok(Ok(result.rate()));
        }
        let (made, lost, behind) = (result.rate(), result.lost(), result.behind);
        happened = format!("{wanted}/s requested, {made:.0}/s created, {behind} behind at the end, {lost} lost");
    }
    Ok(Err(happened))
}
