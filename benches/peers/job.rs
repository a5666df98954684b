//! What a process of its own measures.

use std::io::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::{Plan, Side};
use crate::load::Settle;
use crate::ours::Ours;
use crate::stock::Stock;
use crate::{Result, enqueue, highest, idle, lookup, making, steady};

/// A measurement, as it is given to the process that does it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// What tracers cost that do nothing.
    Idle { side: Side, plan: Plan, time: Duration },
    /// What making them costs.
    Making { plan: Plan, rounds: usize },
    /// What finding them costs.
    Lookup { rounds: usize, plan: Plan },
    /// What a span costs the thread that makes it.
    Enqueue {
        place: enqueue::Place,
        rounds: usize,
        plan: Plan,
    },
    /// Spans at a given rate.
    Steady {
        side: Side,
        plan: Plan,
        rate: u64,
        time: Duration,
        settle: Settle,
    },
    /// The highest rate without a loss.
    Highest {
        side: Side,
        plan: Plan,
        time: Duration,
        steps: u32,
    },
}

/// Measures, and prints what was measured.
pub(crate) fn run(job: &Job) -> Result<()> {
    let text = match *job {
        Job::Idle { side, plan, time } => json(&idle::measure(side, &plan, time)?),
        Job::Making { plan, rounds } => json(&making::measure(&plan, rounds)?),
        Job::Lookup { plan, rounds } => json(&lookup::measure(&plan, rounds)?),
        Job::Enqueue { place, rounds, plan } => json(&enqueue::measure(place, &plan, rounds)?),
        Job::Steady {
            side,
            plan,
            rate,
            time,
            settle,
        } => match side {
            Side::Ours => json(&steady::measure::<Ours>(&plan, rate, time, settle)?),
            Side::Stock => json(&steady::measure::<Stock>(&plan, rate, time, settle)?),
            Side::Bare => Err("nothing is sent without a processor".into()),
        },
        Job::Highest {
            side,
            plan,
            time,
            steps,
        } => match side {
            Side::Ours => json(&highest::measure::<Ours>(&plan, time, steps)?),
            Side::Stock => json(&highest::measure::<Stock>(&plan, time, steps)?),
            Side::Bare => Err("nothing is sent without a processor".into()),
        },
    };
    println!("{}", text?);
    std::io::stdout().flush()?;
    // Thousands of threads need not be ended one by one.
    std::process::exit(0);
}

fn json(measured: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(measured)?)
}
