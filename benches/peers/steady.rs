//! Processor time and losses at a fixed rate.

use std::time::Duration;

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::idle::shown;
use crate::job::Job;
use crate::load::{LoadResult, Settle, run_load, warm_up};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const RATE: u64 = 100_000;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(3), Duration::from_secs(10));
    let mut rows = Vec::new();
    for (tracers, most) in [(1, 0.8), (1_000, 0.6)] {
        let plan = Plan::sending(tracers, receiver.ports);
        let (mut ours, mut stock): (Vec<LoadResult>, Vec<LoadResult>) = (Vec::new(), Vec::new());
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
        let cpu = |all: &[LoadResult]| median(all.iter().map(LoadResult::cpu_per_span));
        let made = |all: &[LoadResult]| median(all.iter().map(|result| Some(result.rate()))).unwrap_or_default();
        let row = Row::of(
            "processor time per delivered span at 100,000/s",
            shown(tracers),
            "us",
            Target::RatioAtMost(most),
        );
        let row = row.note(format!(
            "created: {:.0}/s by ours, {:.0}/s by stock",
            made(&ours),
            made(&stock)
        ));
        rows.push(row.measured(cpu(&ours), "stock batch processor", cpu(&stock)));
        // The worst of all rounds, because any loss counts.
        let lost = |all: &[LoadResult]| all.iter().map(|result| number(result.lost())).reduce(f64::max);
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

pub(crate) fn measure<F: Fleet>(plan: &Plan, rate: u64, time: Duration) -> Result<LoadResult> {
    let fleet = F::make(plan)?;
    warm_up(&fleet, plan, rate, Settle::Flush);
    run_load(&fleet, plan, rate, time, Settle::Flush)
}
