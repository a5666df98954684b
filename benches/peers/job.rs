//! What a process of its own measures.

use std::io::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Ports;
use crate::fleet::{Plan, Side};
use crate::ours::Ours;
use crate::stock::Stock;
use crate::{Result, churn, enqueue, highest, hole, idle, lookup, making, reload, rotation, steady, tables};

const NOTHING_SENT: &str = "a provider without a processor sends nothing";

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
    },
    /// The same while the receivers of some never answer.
    Hole { side: Side, plan: Plan, time: Duration },
    /// The highest rate without a loss.
    Highest {
        side: Side,
        plan: Plan,
        time: Duration,
        steps: u32,
    },
    /// Many tenants, each seen once.
    Churn { ports: Ports, tenants: usize },
    /// A key that is rotated under load, or is not.
    Rotation { plan: Plan, time: Duration, rotate: bool },
    /// A configuration that is read again with many tracers.
    Reload { ports: Ports, rounds: usize },
    /// A configuration with many tables.
    Tables { ports: Ports, tables: usize },
}

/// Measures, and prints what was measured.
pub(crate) fn run(job: &Job) -> Result<()> {
    let text = match *job {
        Job::Idle { side, plan, time } => json(&idle::measure(side, &plan, time)?),
        Job::Making { plan, rounds } => json(&making::measure(&plan, rounds)?),
        Job::Lookup { plan, rounds } => json(&lookup::measure(&plan, rounds)?),
        Job::Churn { ports, tenants } => json(&churn::measure(ports, tenants)?),
        Job::Rotation { plan, time, rotate } => json(&rotation::measure(&plan, time, rotate)?),
        Job::Reload { ports, rounds } => json(&reload::measure(ports, rounds)?),
        Job::Tables { ports, tables } => json(&tables::measure(ports, tables)?),
        Job::Enqueue { place, rounds, plan } => json(&enqueue::measure(place, &plan, rounds)?),
        Job::Steady { side, plan, rate, time } => match side {
            Side::Ours => json(&steady::measure::<Ours>(&plan, rate, time)?),
            Side::Stock => json(&steady::measure::<Stock>(&plan, rate, time)?),
            Side::Bare => return Err(NOTHING_SENT.into()),
        },
        Job::Hole { side, plan, time } => match side {
            Side::Ours => json(&hole::measure::<Ours>(&plan, time)?),
            Side::Stock => json(&hole::measure::<Stock>(&plan, time)?),
            Side::Bare => return Err(NOTHING_SENT.into()),
        },
        Job::Highest {
            side,
            plan,
            time,
            steps,
        } => match side {
            Side::Ours => json(&highest::measure::<Ours>(&plan, time, steps)?),
            Side::Stock => json(&highest::measure::<Stock>(&plan, time, steps)?),
            Side::Bare => return Err(NOTHING_SENT.into()),
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
