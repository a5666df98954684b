//! Idle tracers: memory, threads, processor time.

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

/// Cost of idle tracers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Per tracer.
    bytes: Option<f64>,
    /// In the process, including the main thread.
    threads: Option<u64>,
    /// Processor time in milliseconds per second.
    cpu: Option<f64>,
}

const MANY: usize = 100_000;
/// An idle stock tracer takes a thread and 760 KiB.
const MAX_STOCK: usize = 1_000;

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
    for tracers in [MAX_STOCK, 10_000, MANY] {
        let ours = measured(Side::Ours, tracers)?;
        let (name, peer) = if tracers == MAX_STOCK {
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
        if tracers == MAX_STOCK {
            all.push((0, peer));
        }
    }
    let threads = |idle: &[Idle]| median(idle.iter().map(|idle| idle.threads.map(number)));
    let stock = all
        .iter()
        .find(|(tracers, _)| *tracers == 0)
        .and_then(|(_, idle)| threads(idle));
    let first = threads(&all[0].1);
    for (tracers, idle) in all.iter().filter(|(tracers, _)| [1, MAX_STOCK, MANY].contains(tracers)) {
        let most = first.unwrap_or_default().min(4.0);
        let row = Row::of(
            "threads of the process",
            shown(*tracers),
            "threads",
            Target::AtMost(most),
        );
        let stock = stock.filter(|_| *tracers == MAX_STOCK);
        rows.push(row.measured(threads(idle), "stock batch processor", stock));
    }
    let cpu = |at: &[Idle]| median(at.iter().map(|idle| idle.cpu));
    let (one, many) = (cpu(&all[0].1), all.last().and_then(|(_, idle)| cpu(idle)));
    // Allow a thousandth of a core above one tracer.
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
            // The first tracer pays for shared state.
            drop(registry.tenant(&ours::name(0))?);
            measure_idle(plan.tracers, time, || {
                for at in 1..plan.tracers {
                    drop(registry.tenant(&ours::name(at))?);
                }
                Ok(registry)
            })
        }
        Side::Stock => measure_idle(plan.tracers, time, || Stock::make(plan)),
        Side::Bare => measure_idle(plan.tracers, time, || {
            Ok((0..plan.tracers).map(|_| stock::bare()).collect::<Vec<_>>())
        }),
    }
}

/// Measures the cost of what `make` creates, per tracer.
fn measure_idle<T>(tracers: usize, time: Duration, make: impl FnOnce() -> Result<T>) -> Result<Idle> {
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

/// Formats a number of tracers.
pub(crate) fn shown(tracers: usize) -> String {
    match tracers {
        1 => "1 tracer".to_owned(),
        0..1_000 => format!("{tracers} tracers"),
        _ => format!("{},{:03} tracers", tracers / 1000, tracers % 1000),
    }
}
