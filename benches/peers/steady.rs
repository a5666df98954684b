//! Processor time and losses at a fixed rate.

use std::time::Duration;

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::idle::shown;
use crate::job::Job;
use crate::load::{Driven, Settle, drive, warm_up};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const RATE: u64 = 100_000;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(3), Duration::from_secs(10));
    let mut rows = Vec::new();
    for (tracers, most) in [(1, 0.8), (1_000, 0.6)] {
        let plan = Plan::sending(tracers, receiver.ports);
        let (mut ours, mut stock): (Vec<Driven>, Vec<Driven>) = (Vec::new(), Vec::new());
        for _ in 0..options.long_rounds() {
            for (side, all) in [(Side::Ours, &mut ours), (Side::Stock, &mut stock)] {
                all.push(child::measure(&Job::Steady {
                    side,
                    plan,
                    rate: RATE,
                    time,
                })?);
            }
        }
        let cpu = |all: &[Driven]| median(all.iter().map(Driven::cpu_per_span));
        let made = |all: &[Driven]| median(all.iter().map(|driven| Some(driven.rate()))).unwrap_or_default();
        let row = Row::of(
            "processor time per delivered span at 100,000/s",
            shown(tracers),
            "us",
            Target::RatioAtMost(most),
        );
        let row = row.note(format!(
            "made: {:.0}/s by ours, {:.0}/s by stock",
            made(&ours),
            made(&stock)
        ));
        rows.push(row.measured(cpu(&ours), "stock batch processor", cpu(&stock)));
        // The worst of all rounds: a loss is a loss.
        let lost = |all: &[Driven]| all.iter().map(|driven| number(driven.lost())).reduce(f64::max);
        let row = Row::of(
            "dropped spans at 100,000/s",
            shown(tracers),
            "spans",
            Target::AtMost(0.0),
        );
        rows.push(row.measured(lost(&ours), "stock batch processor", lost(&stock)));
    }
    Ok(rows)
}

pub(crate) fn measure<F: Fleet>(plan: &Plan, rate: u64, time: Duration) -> Result<Driven> {
    let fleet = F::make(plan)?;
    warm_up(&fleet, plan, rate, Settle::Flush);
    drive(&fleet, plan, rate, time, Settle::Flush)
}
