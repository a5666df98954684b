//! Tracers that do nothing: memory, threads, processor time.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{Fleet, Plan, Side};
use crate::job::Job;
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::stock::{self, Stock};
use crate::{Result, child, ours, process};

/// What idle tracers cost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Of each tracer.
    bytes: Option<f64>,
    /// Of the process, the one that made the tracers among them.
    threads: Option<u64>,
    /// Milliseconds of processor time in a second.
    cpu: Option<f64>,
}

const MANY: usize = 100_000;
/// Idle tracers of the stock kind take a thread and 760 KiB each.
const MOST_STOCK: usize = 1_000;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(1), Duration::from_secs(5));
    let measured = |side, tracers| -> Result<Vec<Idle>> {
        let plan = Plan::sending(tracers, receiver.ports);
        let job = Job::Idle {
            side,
            plan: Plan { queue: 2048, ..plan },
            time,
        };
        (0..options.pick(1, 3)).map(|_| child::measure(&job)).collect()
    };
    let one = measured(Side::Ours, 1)?;
    let mut rows = Vec::new();
    let mut all = vec![(1, one)];
    for tracers in [MOST_STOCK, 10_000, MANY] {
        let ours = measured(Side::Ours, tracers)?;
        let (name, peer) = if tracers == MOST_STOCK {
            ("stock batch processor", measured(Side::Stock, tracers)?)
        } else {
            ("provider without a processor", measured(Side::Bare, tracers)?)
        };
        let bytes = |idle: &[Idle]| median(idle.iter().map(|idle| idle.bytes));
        let row = Row::of(
            "memory of an idle tracer",
            shown(tracers),
            "bytes",
            Target::AtMost(2048.0),
        );
        rows.push(row.measured(bytes(&ours), name, bytes(&peer)));
        all.push((tracers, ours));
        if tracers == MOST_STOCK {
            all.push((0, peer));
        }
    }
    let threads = |idle: &[Idle]| median(idle.iter().map(|idle| idle.threads.map(number)));
    let stock = all
        .iter()
        .find(|(tracers, _)| *tracers == 0)
        .and_then(|(_, idle)| threads(idle));
    let first = threads(&all[0].1);
    for (tracers, idle) in all
        .iter()
        .filter(|(tracers, _)| [1, MOST_STOCK, MANY].contains(tracers))
    {
        let most = first.unwrap_or_default().min(4.0);
        let row = Row::of(
            "threads of the process",
            shown(*tracers),
            "threads",
            Target::AtMost(most),
        );
        let stock = stock.filter(|_| *tracers == MOST_STOCK);
        rows.push(row.measured(threads(idle), "stock batch processor", stock));
    }
    let cpu = |at: &[Idle]| median(at.iter().map(|idle| idle.cpu));
    let (one, many) = (cpu(&all[0].1), all.last().and_then(|(_, idle)| cpu(idle)));
    // A thousandth of a core more than one tracer takes is as good as nothing.
    let most = one.unwrap_or_default() + 1.0;
    let row = Row::of(
        "idle processor time",
        shown(MANY),
        "ms/s",
        Target::AtMost((most * 100.0).round() / 100.0),
    );
    rows.push(row.measured(many, "ours with 1 tracer", one));
    Ok(rows)
}

pub(crate) fn measure(side: Side, plan: &Plan, time: Duration) -> Result<Idle> {
    match side {
        Side::Ours => {
            let registry = ours::builder(&plan.ports.url()).build()?;
            // The first one pays for what all share.
            drop(registry.tenant(&ours::name(0))?);
            weigh(plan.tracers, time, || {
                for at in 1..plan.tracers {
                    drop(registry.tenant(&ours::name(at))?);
                }
                Ok(registry)
            })
        }
        Side::Stock => weigh(plan.tracers, time, || Stock::make(plan)),
        Side::Bare => weigh(plan.tracers, time, || {
            Ok((0..plan.tracers).map(|_| stock::bare()).collect::<Vec<_>>())
        }),
    }
}

/// What `make` leaves behind, for each of the tracers that it makes.
fn weigh<T>(tracers: usize, time: Duration, make: impl FnOnce() -> Result<T>) -> Result<Idle> {
    let before = process::resident_bytes();
    let kept = make()?;
    thread::sleep(Duration::from_millis(300));
    let after = process::resident_bytes();
    let (threads, cpu) = (process::threads(), process::exact_cpu());
    thread::sleep(time);
    let used = process::exact_cpu()
        .zip(cpu)
        .map(|(after, before)| after.saturating_sub(before));
    drop(kept);
    Ok(Idle {
        bytes: after
            .zip(before)
            .map(|(after, before)| number(after.saturating_sub(before)) / number(tracers as u64)),
        threads,
        cpu: used.map(|used| used.as_secs_f64() * 1000.0 / time.as_secs_f64()),
    })
}

/// A number of tracers, as people write it.
pub(crate) fn shown(tracers: usize) -> String {
    match tracers {
        1 => "1 tracer".to_owned(),
        0..1_000 => format!("{tracers} tracers"),
        _ => format!("{},{:03} tracers", tracers / 1000, tracers % 1000),
    }
}
