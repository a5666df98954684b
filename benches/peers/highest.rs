//! The highest rate that is delivered without a loss, found by bisection.

use std::time::Duration;

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::idle::shown;
use crate::job::Job;
use crate::load::{Settle, drive, warm_up};
use crate::options::Options;
use crate::row::{Row, Target, median};
use crate::{Result, child};

/// Between these the rate is looked for, by their ratio.
const LOWEST: u32 = 20_000;
const HIGHEST: u32 = 640_000;
/// A rate that loses something may try again once: on a machine that others use as well, a pause is no proof.
const TRIES: usize = 2;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(1), Duration::from_secs(5));
    let steps = options.pick(4, 6);
    let run = |side, tracers| -> Result<Option<f64>> {
        let plan = Plan::sending(tracers, receiver.ports);
        child::measure(&Job::Highest {
            side,
            plan,
            time,
            steps,
        })
    };
    let mut found: [Vec<Option<f64>>; 5] = Default::default();
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
    let [one, stock_one, thousand, stock_thousand, ten_thousand] = found.map(median);
    let row = |tracers, least| {
        Row::new(
            "highest rate without a loss",
            shown(tracers),
            "spans/s",
            Target::RatioAtLeast(least),
        )
    };
    Ok(vec![
        row(1, 1.1).measured(one, "stock batch processor", stock_one),
        row(1_000, 1.3).measured(thousand, "stock batch processor", stock_thousand),
        row(10_000, 0.6).measured(ten_thousand, "ours with 1 tracer", one),
    ])
}

/// Spans a second; `None` where even the lowest rate loses some.
pub(crate) fn measure<F: Fleet>(plan: &Plan, time: Duration, steps: u32) -> Result<Option<f64>> {
    let fleet = F::make(plan)?;
    warm_up(&fleet, plan, u64::from(LOWEST), Settle::Flush);
    let (mut low, mut high) = (f64::from(LOWEST), f64::from(HIGHEST));
    let mut best = None;
    for _ in 0..steps {
        let rate = (low * high).sqrt();
        match sustained(&fleet, plan, rate, time)? {
            Some(delivered) => (low, best) = (rate, Some(delivered)),
            None => high = rate,
        }
    }
    Ok(best)
}

/// The rate in fact delivered, where nothing was lost and the thread that makes spans kept up.
fn sustained<F: Fleet>(fleet: &F, plan: &Plan, rate: f64, time: Duration) -> Result<Option<f64>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between the lowest and the highest"
    )]
    let wanted = rate as u64;
    for _ in 0..TRIES {
        let driven = drive(fleet, plan, wanted, time, Settle::Flush)?;
        if driven.lost() == 0 && driven.rate() > rate * 0.95 {
            return Ok(Some(driven.rate()));
        }
    }
    Ok(None)
}
