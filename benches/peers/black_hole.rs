//! Delivery of other tenants while some receivers accept connections and never answer.
//!
//! Measured in two consecutive phases: at first, before any timeout, and later.

use std::mem::ManuallyDrop;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{BlackHoles, Fleet, Plan, Side};
use crate::job::Job;
use crate::load::{LoadResult, Settle, run_load};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const RATE: u64 = 50_000;

/// Two consecutive phases.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Phases {
    first: LoadResult,
    later: LoadResult,
}

/// Selects a phase.
type Pick = fn(&Phases) -> &LoadResult;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(2), Duration::from_secs(15));
    let run = |side, black_holes| -> Result<Phases> {
        let plan = Plan {
            black_holes,
            ..Plan::sending(1_000, receiver.ports)
        };
        child::measure(&Job::BlackHole { side, plan, time })
    };
    let (mut with, mut without, mut stock) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.long_rounds() {
        with.push(run(Side::Ours, BlackHoles::ATenth)?);
        without.push(run(Side::Ours, BlackHoles::None)?);
        stock.push(run(Side::Stock, BlackHoles::ATenth)?);
    }
    let mut rows = Vec::new();
    let phases: [(&str, Pick); 2] = [
        ("900 of 1,000 tenants, at first", |phases| &phases.first),
        ("900 of 1,000 tenants, later", |phases| &phases.later),
    ];
    for (at, pick) in phases {
        let of =
            |all: &[Phases], what: fn(&LoadResult) -> f64| median(all.iter().map(|phases| Some(what(pick(phases)))));
        for (what, unit, target, value) in [
            (
                "p99 from a span's end to its receipt, 100 others black-holed",
                "ms",
                Target::RatioAtMost(1.2),
                p99 as fn(&LoadResult) -> f64,
            ),
            (
                "delivered, 100 others black-holed",
                "%",
                Target::RatioAtLeast(0.9999),
                delivered,
            ),
        ] {
            let beside = of(&stock, value).unwrap_or(f64::NAN);
            let row = Row::of(what, at, unit, target).note(format!("stock batch processors instead: {beside:.2}"));
            rows.push(row.measured(of(&with, value), "ours, none black-holed", of(&without, value)));
        }
    }
    Ok(rows)
}

fn p99(result: &LoadResult) -> f64 {
    result.received.p99_millis
}

/// Returns the percentage delivered of the spans for receivers that answer.
fn delivered(result: &LoadResult) -> f64 {
    number(result.received.spans) / number(result.made_healthy.max(1)) * 100.0
}

pub(crate) fn measure<F: Fleet>(plan: &Plan, time: Duration) -> Result<Phases> {
    // Never dropped, because that would wait for receivers that never answer. This process ends
    // after the measurement.
    let fleet = ManuallyDrop::new(F::make(plan)?);
    Ok(Phases {
        first: run_load(&*fleet, plan, RATE, time, Settle::Wait)?,
        later: run_load(&*fleet, plan, RATE, time, Settle::Wait)?,
    })
}
