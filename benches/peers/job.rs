//! Measurements that run in a separate process.

use std::io::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Ports;
use crate::fleet::{Plan, Side};
use crate::ours::Ours;
use crate::stock::Stock;
use crate::{Result, black_hole, churn, creation, enqueue, highest, idle, lookup, reload, rotation, steady, tables};

const NOTHING_SENT: &str = "a provider without a processor sends nothing";

/// A measurement, as passed to its process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Cost of idle tracers.
    Idle { side: Side, plan: Plan, time: Duration },
    /// Cost of creating tracers.
    Creation { plan: Plan, rounds: usize },
    /// Cost of finding tracers.
    Lookup {
        rounds: usize,
        plan: Plan,
        peer_hashes_fast: bool,
    },
    /// Cost of a span for its thread.
    Enqueue {
        layout: enqueue::ThreadLayout,
        rounds: usize,
        plan: Plan,
    },
    /// Load at a fixed rate.
    Steady {
        side: Side,
        plan: Plan,
        rate: u64,
        time: Duration,
    },
    /// The same while some receivers never answer.
    BlackHole { side: Side, plan: Plan, time: Duration },
    /// The highest rate without loss.
    Highest {
        side: Side,
        plan: Plan,
        time: Duration,
        steps: u32,
    },
    /// Many tenants, each used once.
    Churn { ports: Ports, tenants: usize },
    /// Load with or without key rotation.
    Rotation { plan: Plan, time: Duration, rotate: bool },
    /// Reload with many tracers.
    Reload { ports: Ports, rounds: usize },
    /// A configuration with many tables.
    Tables { ports: Ports, tables: usize },
}

/// Runs a measurement and prints the result.
pub(crate) fn run(job: &Job) -> Result<()> {
    let text = match *job {
        Job::Idle { side, plan, time } => json(&idle::measure(side, &plan, time)?),
        Job::Creation { plan, rounds } => json(&creation::measure(&plan, rounds)?),
        Job::Lookup {
            plan,
            rounds,
            peer_hashes_fast,
        } => json(&lookup::measure(&plan, rounds, peer_hashes_fast)?),
        Job::Churn { ports, tenants } => json(&churn::measure(ports, tenants)?),
        Job::Rotation { plan, time, rotate } => json(&rotation::measure(&plan, time, rotate)?),
        Job::Reload { ports, rounds } => json(&reload::measure(ports, rounds)?),
        Job::Tables { ports, tables } => json(&tables::measure(ports, tables)?),
        Job::Enqueue { layout, rounds, plan } => json(&enqueue::measure(layout, &plan, rounds)?),
        Job::Steady { side, plan, rate, time } => match side {
            Side::Ours => json(&steady::measure::<Ours>(&plan, rate, time)?),
            Side::Stock => json(&steady::measure::<Stock>(&plan, rate, time)?),
            Side::Bare => return Err(NOTHING_SENT.into()),
        },
        Job::BlackHole { side, plan, time } => match side {
            Side::Ours => json(&black_hole::measure::<Ours>(&plan, time)?),
            Side::Stock => json(&black_hole::measure::<Stock>(&plan, time)?),
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
    // Skip ending thousands of threads one by one.
    std::process::exit(0);
}

fn json(measured: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(measured)?)
}
